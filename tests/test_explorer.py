"""The explorer: its arithmetic in node against the package's, and its page in headless Chromium."""

import base64
import gzip
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import parse_qsl

import chromium
import explorer
import hole
import numpy as np
import pytest
from scipy.stats import norm

import gluon_vae
from gluon_vae.digit_classifier import classify

from mxnet import init, nd

FOLDER = Path(__file__).parents[1] / "docs" / "explorer"
PAGE = (FOLDER / "index.html").as_uri()
MEGABYTE = 1_000_000
DIGITS = (0, 2, 4, 17, 55)
WEIGHTS = explorer.read()

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is missing")
needs_chromium = pytest.mark.skipif(chromium.find() is None, reason="Chromium is missing")


def model(name):
    recipe, packed = explorer.MODELS[name], WEIGHTS["models"][name]
    net = recipe.make(**explorer.SIZES, **recipe.options)
    net.initialize(init.Zero())
    explorer.unpacked(net.encoder, packed["encoder"])
    explorer.unpacked(net.decoder.logits, packed["decoder"])
    return net


@pytest.fixture(scope="module")
def nets():
    return {name: model(name) for name in explorer.MODELS}


@pytest.fixture(scope="module")
def x():
    return explorer.images(WEIGHTS["digits"])


def node(script, **given):
    """Run a script in node, where ``given`` and the page's modules are, and return what it returns."""
    modules = "".join(f"const {name} = require('{FOLDER}/{name}.js');" for name in ("vae", "digits"))
    modules += f"const WEIGHTS = require('{FOLDER}/weights.js');"
    modules += "const given = JSON.parse(require('fs').readFileSync(0));"
    whole = f"{modules} console.log(JSON.stringify((() => {{ {script} }})()))"
    done = subprocess.run(["node", "-e", whole], input=json.dumps(given), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


# The files


def test_the_page_is_small_and_says_where_its_models_come_from():
    sizes = [len(gzip.compress(path.read_bytes())) for path in FOLDER.iterdir()]
    assert sum(sizes) < 2 * MEGABYTE
    assert {"command", "data", "seed", "epochs", "test", "versions"} <= set(WEIGHTS["made"])
    for name, recipe in explorer.MODELS.items():
        made = WEIGHTS["models"][name]
        net = recipe.make(**explorer.SIZES, **recipe.options)
        assert made["config"] == net.config
        assert {"standard_error", "elbo" if hasattr(net, "nll_given") else "nll"} <= set(made["test"])


def test_rounding_cost_less_than_the_standard_error():
    for made in WEIGHTS["models"].values():
        term = "elbo" if "elbo" in made["test"] else "nll"
        assert abs(made["test"][term] - made["test"]["before rounding"][term]) < 0.2 * made["test"]["standard_error"]


def test_the_page_refers_to_its_own_files_and_the_site_only():
    text = (FOLDER / "index.html").read_text(encoding="utf-8")
    for link in re.findall(r'(?:href|src)="([^"#]+)"', text):
        if match := re.fullmatch(r"\.\./notebooks/(\w+)\.html", link):
            assert (FOLDER.parents[1] / "notebooks" / f"{match[1]}.ipynb").exists()
        elif link not in ("../index.html", "data:,"):
            assert (FOLDER / link).exists()
    for path in FOLDER.iterdir():
        content = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|\bfetch\(|\bimport\b|XMLHttpRequest", content), path.name


def test_what_is_packed_is_what_is_unpacked():
    net = explorer.MODELS["vae"].make(n_hidden=400, n_latent=2, n_layers=1)
    net.initialize(init.Normal(0.1))
    before = net.encoder[0].weight.data().asnumpy(), net.encoder[1].weight.data().asnumpy()
    packed = explorer.packed(net.encoder)
    assert packed["bits"] == [8, 16]
    rounded = net.encoder(nd.ones((1, 784))).asnumpy()
    for weight, original, levels in zip((net.encoder[0].weight, net.encoder[1].weight), before, (127, 32767)):
        step = abs(original).max(axis=1, keepdims=True) / levels
        assert (abs(weight.data().asnumpy() - original) <= 0.501 * step).all()
    net.initialize(init.Zero(), force_reinit=True)
    explorer.unpacked(net.encoder, packed)
    assert (net.encoder(nd.ones((1, 784))).asnumpy() == rounded).all()


# The arithmetic


@needs_node
@pytest.mark.parametrize("name", explorer.MODELS)
def test_codes_pixels_and_terms_are_the_packages(nets, x, name):
    net, chosen, z = nets[name], x[list(DIGITS)], gluon_vae.prior_draws(6, 2, seed=1)
    script = """
    const model = new vae.Model(WEIGHTS.models[given.name]);
    const draws = vae.normalPairs(0, 8);
    return {
        draws,
        images: given.z.map((z) => Array.from(model.image(z))),
        nll: given.x.map((x, i) => model.nll(x, given.z[i])),
        terms: given.x.map((x) => vae.terms(model, x, draws)),
    };"""
    answer = node(script, name=name, x=chosen.tolist(), z=z.tolist())
    np.testing.assert_allclose(answer["images"], gluon_vae.generate(net, z), atol=2e-6)
    logits = net.decoder.logits(nd.array(z[: len(chosen)]))
    np.testing.assert_allclose(answer["nll"], net.likelihood(logits, nd.array(chosen)).asnumpy(), rtol=2e-5)
    mu = gluon_vae.encode(net, chosen)
    np.testing.assert_allclose([terms["code"]["mu"] for terms in answer["terms"]], mu, atol=1e-4)
    at_mean = net.likelihood(net.decoder.logits(nd.array(mu)), nd.array(chosen)).asnumpy()
    np.testing.assert_allclose([terms["atMean"] for terms in answer["terms"]], at_mean, rtol=1e-4)
    if not hasattr(net, "nll_given"):
        assert all(terms["code"]["logVar"] is None and "kl" not in terms for terms in answer["terms"])
        return
    for image, terms in zip(chosen, answer["terms"]):
        net(np.tile(image, (8, 1)), np.array(answer["draws"], np.float32))
        nll = net.nll.asnumpy()
        np.testing.assert_allclose(terms["code"]["logVar"], net.log_var.asnumpy()[0], atol=1e-4)
        np.testing.assert_allclose(terms["kl"], net.kl.asnumpy()[0], atol=1e-3)
        np.testing.assert_allclose(terms["nll"], nll.mean(), rtol=1e-4)
        np.testing.assert_allclose(terms["error"], nll.std(ddof=1) / np.sqrt(8), atol=0.01)


@needs_node
@pytest.mark.parametrize("name", ["vae", "beta"])
def test_log_p_is_the_integral(nets, x, name):
    script = """
    const grid = new vae.Grid(new vae.Model(WEIGHTS.models[given.name]));
    return given.x.map((x) => {
        const steps = vae.evidence(grid, x);
        let step = steps.next();
        while (!step.done) step = steps.next();
        return { logP: step.value.logP, largest: Math.max(...step.value.cells.map((cell) => cell.weight)) };
    });"""
    chosen = x[list(DIGITS)]
    answers = node(script, name=name, x=chosen.tolist())
    fine, coarse = hole.log_evidence(nets[name], chosen, np.zeros(2), np.eye(2), side=201, reach=6)
    sure = abs(fine - coarse) < 0.05  # then the finer of the two is right to a few thousandths
    assert sure.sum() >= 2
    np.testing.assert_allclose(np.array([answer["logP"] for answer in answers])[sure], fine[sure], atol=0.01)
    assert all(answer["largest"] == 1 for answer in answers)
    # The ELBO is below it, and importance sampling from q(z|x) too, on average.
    logs = np.array([answer["logP"] for answer in answers])
    assert (gluon_vae.elbo(nets[name], chosen, n_samples=200).per_image < logs).all()
    assert (gluon_vae.log_likelihood(nets[name], chosen, progress=False).per_image < logs + 0.2).all()


def test_what_there_is_to_try_is_what_is_said_of_it(nets, x):
    text = (FOLDER / "index.html").read_text(encoding="utf-8")
    addresses = [html.unescape(address) for address in re.findall(r'<li><a href="#([^"]+)"', text)]
    path, gap, shares, hole_, beta, house = (dict(parse_qsl(address)) for address in addresses)
    a, b = (gluon_vae.encode(nets["vae"], x[[int(path[name][1:])]]) for name in ("a", "b"))
    on_line = classify(gluon_vae.generate(nets["vae"], np.linspace(a[0], b[0], 9)))
    digits = on_line.argmax(axis=1)
    assert on_line.max(axis=1).min() > 0.8
    assert [digit for k, digit in enumerate(digits) if k == 0 or digit != digits[k - 1]] == [0, 6, 2, 9, 4, 7]
    zero = x[[int(gap["digit"])]]
    assert WEIGHTS["digits"]["labels"][int(gap["digit"])] == "0"
    (log_p,), _ = hole.log_evidence(nets["vae"], zero, np.zeros(2), np.eye(2), side=201, reach=6)
    assert log_p - gluon_vae.elbo(nets["vae"], zero, n_samples=200).mean > 40
    assert shares["plane"] == "cdf"
    codes = gluon_vae.encode(nets["ae"], x).astype(float)
    between = np.linalg.norm(codes - [float(part) for part in hole_["z"].split(",")], axis=1)
    apart = np.sort(np.linalg.norm(codes[:, None] - codes, axis=2), axis=1)[:, 1]
    assert between.min() > 10 > 5 * np.median(apart)
    four, terms = x[[int(beta["digit"])]], {}
    for name in ("vae", "beta"):
        nets[name](np.tile(four, (1000, 1)))
        values = nets[name].nll, nets[name].kl, nets[name].log_var
        terms[name] = [np.mean(value.asnumpy()) for value in values]
    assert (np.sign(np.subtract(terms["beta"], terms["vae"])) == [1, -1, 1]).all()
    pairs = np.frombuffer(base64.urlsafe_b64decode(house["x"] + "=" * (-len(house["x"]) % 4)), np.uint8)
    drawn = np.zeros(784, np.float32)
    drawn[: 2 * len(pairs)] = np.stack([pairs >> 4, pairs & 15], axis=1).ravel() / np.float32(15)
    assert (
        gluon_vae.elbo(nets["vae"], drawn[None], n_samples=200).mean < WEIGHTS["models"]["vae"]["test"]["elbo"] - 50
    )


@needs_node
def test_normal_numbers_and_their_distribution_function():
    z = np.linspace(-6, 6, 121)
    answer = node("return [given.z.map(vae.normalCdf), given.p.map(vae.normalPpf), vae.normalPairs(3, 4000)];",
                  z=z.tolist(), p=norm.cdf(z[20:101]).tolist())  # fmt: skip
    np.testing.assert_allclose(answer[0], norm.cdf(z), rtol=1e-11)
    np.testing.assert_allclose(answer[1], z[20:101], atol=1e-9)
    draws = np.array(answer[2])
    assert abs(draws.mean(axis=0)).max() < 5 / np.sqrt(4000)
    assert abs(np.cov(draws.T) - np.eye(2)).max() < 5 * np.sqrt(2 / 4000)


@needs_node
def test_a_digit_that_is_enlarged_and_moved_comes_back_as_it_was(x):
    script = "return given.ink.map((ink) => Array.from(digits.normalise(Float32Array.from(ink), given.side)));"
    exact = x[:5].reshape(-1, 28, 28)
    large = np.zeros((5, 150, 150))
    large[:, 7:147, 3:143] = exact.repeat(5, axis=1).repeat(5, axis=2)
    answer = np.array(node(script, ink=large.reshape(5, -1).tolist(), side=150)).reshape(-1, 28, 28)
    np.testing.assert_allclose(answer, exact, atol=1e-6)


@needs_node
def test_a_drawing_becomes_what_mnist_would_have_made_of_it():
    script = "return given.strokes.map((strokes) => Array.from(digits.fromStrokes(strokes)));"
    seven = [[0.2, 0.2], [0.8, 0.2], [0.45, 0.9]]
    small = [[0.05 + 0.1 * a, 0.7 + 0.1 * b] for a, b in seven]
    dash = [[0.4, 0.5], [0.6, 0.5]]
    answer = np.array(node(script, strokes=[[seven], [small], [dash], [[[0.5, 0.5]]]])).reshape(-1, 28, 28)
    np.testing.assert_allclose(answer[1], answer[0], atol=1e-3)  # where and how large it was drawn does not matter
    for image in answer[:3]:
        rows, columns = (np.flatnonzero(image.max(axis=axis) > 0.02) for axis in (1, 0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
        centre = [(image.sum(axis=axis) * np.arange(28)).sum() / image.sum() for axis in (1, 0)]
        assert abs(np.array(centre) - 14).max() <= 0.5
        assert image.max() > 0.9
    assert ((answer[0] > 0.05) & (answer[0] < 0.95)).any()  # with soft rims
    assert answer[3].max() > 0.9  # a point is a drawing too


@needs_node
def test_a_drawing_survives_an_address(x):
    script = """
    const images = given.x.map((x) => digits.fromText(digits.toText(x)));
    return [images.map((image) => Array.from(image)), ["", "A", "%%%", "A".repeat(2000)].map(digits.fromText)];"""
    images, odd = node(script, x=x[:5].tolist())
    np.testing.assert_allclose(images, x[:5], atol=1e-6)
    assert odd == [None] * 4


# The page


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium.Page(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser):
    """A page that is opened anew, and that must not have complained at the end."""
    browser.console.clear()
    browser.errors.clear()
    browser.requests.clear()
    browser.prefer(color_scheme="light", reduced_motion="reduce")
    browser.resize(1280, 900)
    browser.open(PAGE)
    yield browser
    assert browser.errors == []
    assert browser.console == []
    assert [address for address in browser.requests if not address.startswith(("file://", "blob:", "data:"))] == []


def pixels(page, selector):
    """Return the ink on one of the small canvases, (784,)."""
    canvas = f"document.querySelector({selector!r})"
    values = page.run(f"Array.from({canvas}.getContext('2d').getImageData(0, 0, 28, 28).data)")
    return np.array(values).reshape(-1, 4)[:, 3] / 255


def state(page, name):
    return page.run(f"explorer.state.{name}")


def measured(page):
    page.wait("explorer.known.logP !== null")
    return page.run("({...explorer.known.results, logP: explorer.known.logP})")


@needs_chromium
def test_the_first_picture_is_there_before_anything_is_computed_in_slices(page, nets, x):
    first = "performance.getEntriesByName('first picture')[0].startTime"
    assert page.run(f"{first} < performance.getEntriesByType('navigation')[0].domContentLoadedEventStart")
    digit = state(page, "digit")
    np.testing.assert_allclose(pixels(page, "#image-x"), x[digit], atol=0.003)
    mu = gluon_vae.encode(nets["vae"], x[[digit]])
    np.testing.assert_allclose(state(page, "z"), mu[0], atol=1e-4)
    np.testing.assert_allclose(pixels(page, "#image-z"), gluon_vae.generate(nets["vae"], mu)[0], atol=0.003)
    assert len(page.requests) > 5


@needs_chromium
def test_the_numbers_are_those_of_the_package(page, nets, x):
    page.open(f"{PAGE}#digit=17")
    results = measured(page)
    bound = gluon_vae.elbo(nets["vae"], x[[17]], n_samples=500).mean
    assert abs(results["nll"] + results["kl"] + bound) < 5 * results["error"]
    shown = {name: page.run(f"document.getElementById('{name}').textContent") for name in ("elbo", "log-p", "gap")}
    assert shown["elbo"] == f"{results['nll'] + results['kl']:.1f} ± {results['error']:.1f}"
    assert shown["log-p"] == f"{-results['logP']:.1f}"
    assert float(shown["gap"].split(" ± ")[0]) == pytest.approx(
        results["nll"] + results["kl"] + results["logP"], abs=0.051
    )


@needs_chromium
def test_dragging_moves_z_and_the_image_follows(page, nets):
    page.wait("slices.idle()")
    page.drag(*(page.place("#plane", *place) for place in ((0.5, 0.5), (0.55, 0.6), (0.75, 0.375))))
    page.wait("explorer.state.z[0] > 1.9")
    np.testing.assert_allclose(state(page, "z"), [2, 1], atol=0.03)
    expected = gluon_vae.generate(nets["vae"], np.array([state(page, "z")], np.float32))[0]
    np.testing.assert_allclose(pixels(page, "#image-z"), expected, atol=0.003)
    page.resize(390, 844, touch=True)
    page.swipe(*(page.place("#plane", *place) for place in ((0.5, 0.5), (0.4, 0.5), (0.25, 0.75))))
    page.wait("explorer.state.z[0] < -1.9")
    np.testing.assert_allclose(state(page, "z"), [-2, -2], atol=0.05)


@needs_chromium
def test_keys_move_z_and_a_reader_is_told(page):
    page.run("document.getElementById('plane').focus()")
    page.press("Home")
    assert state(page, "z") == [0, 0]
    page.press("ArrowRight")
    page.press("ArrowUp", shift=True)
    page.press("ArrowLeft")
    page.press("ArrowLeft")
    np.testing.assert_allclose(state(page, "z"), [-0.05, 0.5], atol=1e-9)
    page.wait("document.getElementById('said').textContent.includes('z = (−0.05, 0.50)')")
    for _ in range(20):
        page.press("ArrowUp", shift=True)
    assert state(page, "z")[1] == 4  # and no further


@needs_chromium
def test_a_drawn_digit_is_encoded_measured_and_kept_in_the_address(page, nets):
    before = state(page, "digit")
    page.drag(
        *(page.place("#pad", *place) for place in ((0.3, 0.25), (0.5, 0.25), (0.7, 0.25), (0.6, 0.5), (0.5, 0.8)))
    )
    page.wait("explorer.state.drawing")
    x = pixels(page, "#image-x")
    assert x.max() > 0.9
    mu = gluon_vae.encode(nets["vae"], x[None].astype(np.float32))
    np.testing.assert_allclose(state(page, "z"), mu[0], atol=0.02)
    results = measured(page)
    assert results["nll"] + results["kl"] > -results["logP"] - 4 * results["error"]
    page.wait("location.hash.includes('x=')")
    page.open(PAGE + page.run("location.hash"))
    np.testing.assert_allclose(pixels(page, "#image-x"), x, atol=0.04)  # 4 bits
    page.drag(page.place("#pad", 0.5, 0.5), page.place("#pad", 0.5, 0.9))
    page.wait("!document.getElementById('clear').disabled")
    page.click("#clear")
    assert state(page, "drawing") is None
    assert state(page, "digit") == before


@needs_chromium
def test_a_switch_of_the_model_keeps_the_digit(page, nets, x):
    page.open(f"{PAGE}#digit=17")
    for name in ("ae", "beta", "vae"):
        page.click(f"#models label:has([value={name}])")
        assert state(page, "model") == name
        assert state(page, "digit") == 17
        np.testing.assert_allclose(pixels(page, "#image-x"), x[17], atol=0.003)
        mu = gluon_vae.encode(nets[name], x[[17]])
        np.testing.assert_allclose(state(page, "z"), mu[0], atol=1e-3)
        np.testing.assert_allclose(pixels(page, "#image-z"), gluon_vae.generate(nets[name], mu)[0], atol=0.003)
        page.wait("document.getElementById('nll-mean').textContent !== '…'")
        exists = page.run("document.getElementById('kl').textContent") != "—"
        assert exists == (name != "ae")
        assert page.run("document.querySelector('[value=cdf]').disabled") == (name == "ae")


@needs_chromium
def test_the_address_holds_the_state(page):
    page.open(f"{PAGE}#model=vae&z=0.5,-1&plane=cdf&digit=17&a=d3&b=1,2&show=digits,path")
    np.testing.assert_allclose(state(page, "z"), [0.5, -1], atol=1e-9)
    assert (state(page, "digit"), state(page, "plane"), state(page, "a"), state(page, "b")) == (
        17,
        "cdf",
        "d3",
        [1, 2],
    )
    page.wait("slices.idle()")
    address = page.run("explorer.address()")
    wanted = {"model=vae", "digit=17", "z=0.5,-1", "plane=cdf", "a=d3", "b=1,2", "show=digits,path"}
    assert set(address[1:].split("&")) == wanted
    page.drag(page.place("#plane", 0.5, 0.5), page.place("#plane", 0.03 + 0.94 * 0.75, 0.03 + 0.94 * norm.sf(-1)))
    page.wait("explorer.state.z[0] > 0.6")
    np.testing.assert_allclose(state(page, "z"), [norm.ppf(0.75), -1], atol=0.02)
    page.wait("location.hash.includes('z=0.6')")
    page.run("location.hash = '#model=ae'")
    page.wait("explorer.state.model === 'ae'")


@needs_chromium
@pytest.mark.parametrize(
    "address", ["#model=x&z=a,b&digit=-3&plane=3&a=d9999&b=7&x=%%%", "#z=1e9,1", "#&&==", "#z=0,0,0"]
)
def test_a_wrong_address_does_no_harm(page, address):
    page.open(PAGE + address)
    page.wait("document.querySelectorAll('#strip canvas').length === 9")
    assert state(page, "model") == "vae"
    assert abs(np.array(state(page, "z"))).max() <= 4


@needs_chromium
def test_a_click_on_a_numeral_chooses_that_digit(page, nets, x):
    page.wait("slices.idle()")
    mu = gluon_vae.encode(nets["vae"], x)
    lonely = int(
        np.argmax(np.sort(np.linalg.norm(mu[:, None] - mu, axis=2), axis=1)[:, 1] * (abs(mu) < 3.5).all(axis=1))
    )
    place = page.place("#plane", (mu[lonely, 0] + 4) / 8, (4 - mu[lonely, 1]) / 8)
    page.move(*place)
    page.wait("!document.getElementById('tip').hidden")
    assert str(lonely) in page.run("document.getElementById('tip').textContent")
    page.drag(place)
    page.wait(f"explorer.state.digit === {lonely}")


@needs_chromium
def test_the_path_joins_its_anchors(page, nets):
    page.open(f"{PAGE}#a=-1,-1&b=1,2")
    page.wait("document.querySelectorAll('#strip canvas').length === 9 && slices.idle()")
    codes = np.linspace([-1, -1], [1, 2], 9).astype(np.float32)
    for k, expected in enumerate(gluon_vae.generate(nets["vae"], codes)):
        found = pixels(page, f"#strip button:nth-child({k + 1}) canvas")
        np.testing.assert_allclose(found, expected, atol=0.003)
    page.drag(page.place("#plane", 3 / 8, 5 / 8), page.place("#plane", 0.5, 0.5), page.place("#plane", 0.25, 0.5))
    page.wait("explorer.state.a[0] < -1.9")
    page.click("#strip button:nth-child(9)")
    assert state(page, "z") == [1, 2]


@needs_chromium
def test_dark_mode_is_the_systems_until_the_reader_chooses(page):
    theme = "document.documentElement.dataset.theme"
    assert page.run(theme) == "light"
    page.prefer(color_scheme="dark")
    page.wait(f"{theme} === 'dark'")
    page.click("#theme")
    assert page.run(theme) == "light"
    page.open(PAGE)
    assert page.run(theme) == "light"
    page.run("localStorage.clear()")


@needs_chromium
def test_nothing_is_wider_than_the_window(page):
    measured(page)
    for width in (1280, 800, 390, 320):
        page.resize(width, 844, touch=width < 500)
        page.wait(f"innerWidth === {width}")
        assert page.run("document.documentElement.scrollWidth") <= width


@needs_chromium
def test_a_picture_can_be_saved(page, tmp_path):
    page.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.click("#save")
    for _ in range(200):
        saved = list(tmp_path.glob("*.png"))
        if saved:
            break
        page.run("new Promise((resolve) => setTimeout(resolve, 50))")
    assert saved[0].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert saved[0].stat().st_size > 20_000
