"""The results table of the README: train every model on the full MNIST and record what it reaches.

    python experiments/results.py                     run what has not been run yet (hours)
    python experiments/results.py vae-20 --seeds 0    some of it
    python experiments/results.py --table             write the table into README.md from the recorded runs

Every run is recorded in experiments/results/results.json as soon as it ends; one that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gluon_vae
from gluon_vae.run import Run
from gluon_vae.storage import replacing, write_json

import mxnet as mx
from mxnet.gluon import HybridBlock

HERE = Path(__file__).parent
RECORD = HERE / "results" / "results.json"
README = HERE.parent / "README.md"
MARKED = re.compile(r"(<!-- results -->\n).*?(<!-- end of results -->)", re.DOTALL)
# Of ``fit``: what a row of the table names where it is not the default.
SETTINGS = ("learning_rate", "batch_size", "rate_warmup", "kl_warmup")
DRAWS = 1000  # of z per image, for the importance-sampled log p(x)


class Experiment(NamedTuple):
    """One row of the table: a model, its data and how it is trained."""

    model: str
    make: Callable[[], HybridBlock]
    n_epochs: int
    seeds: tuple[int, ...] = (0, 1, 2)
    learning_rate: float = 3e-3
    batch_size: int = 100
    rate_warmup: int = 0
    kl_warmup: int = 0
    binarized: bool = False
    initializer: mx.init.Initializer | None = None  # fit's own if None


def _mlp(n_latent: int, **arguments: Any) -> Callable[[], HybridBlock]:
    return lambda: gluon_vae.VAE(n_hidden=400, n_layers=2, n_latent=n_latent, **arguments)


def _binarized(act_type: str) -> Callable[[], HybridBlock]:
    return lambda: gluon_vae.VAE(n_hidden=200, n_layers=2, n_latent=50, act_type=act_type)


def _conditional() -> HybridBlock:
    return gluon_vae.ConditionalVAE(n_hidden=400, n_layers=2, n_latent=2)


def _plain(kind: type[gluon_vae.Autoencoder], **arguments: Any) -> Callable[[], HybridBlock]:
    return lambda: kind(n_hidden=400, n_layers=2, n_latent=32, **arguments)


EXPERIMENTS = {
    "vae-2": Experiment("VAE 400-400, 2-D", _mlp(2), 20),
    "vae-2-warm": Experiment("VAE 400-400, 2-D", _mlp(2), 20, rate_warmup=1),
    "vae-2-long": Experiment("VAE 400-400, 2-D", _mlp(2), 50),
    "vae-20": Experiment("VAE 400-400, 20-D", _mlp(20), 30, learning_rate=2e-3),
    "vae-20-as-it-is": Experiment("VAE 400-400, 20-D", _mlp(20), 30),
    "vae-20-warm": Experiment("VAE 400-400, 20-D", _mlp(20), 30, rate_warmup=1),
    "vae-50-as-it-is": Experiment("VAE 400-400, 50-D", _mlp(50), 30),
    "vae-50-warm": Experiment("VAE 400-400, 50-D", _mlp(50), 30, rate_warmup=1),
    "conv-100": Experiment("ConvVAE 16/32/64, 100-D", gluon_vae.ConvVAE, 20, learning_rate=2e-3, batch_size=50),
    "conv-100-warm": Experiment("ConvVAE 16/32/64, 100-D", gluon_vae.ConvVAE, 20, rate_warmup=1),
    "conv-100-wide": Experiment(
        "ConvVAE 32/64/128, 100-D", lambda: gluon_vae.ConvVAE((32, 64, 128)), 50, (0,), rate_warmup=1
    ),
    "conditional-2": Experiment("ConditionalVAE 400-400, 2-D", _conditional, 20),
    "conditional-2-warm": Experiment("ConditionalVAE 400-400, 2-D", _conditional, 20, rate_warmup=1),
    "gaussian-fixed": Experiment(
        "VAE 400-400, 20-D, Gaussian, variance 0.098", _mlp(20, likelihood="gaussian", variance=0.098), 10
    ),
    "gaussian-learned": Experiment(
        "VAE 400-400, 20-D, Gaussian, one learned variance", _mlp(20, likelihood="gaussian"), 10
    ),
    "gaussian-per-pixel": Experiment(
        "VAE 400-400, 20-D, Gaussian, variance per pixel", _mlp(20, likelihood="gaussian", variance="per-pixel"), 10
    ),
    "autoencoder": Experiment("Autoencoder 400-400, 32-D", _plain(gluon_vae.Autoencoder), 10),
    "sparse": Experiment("SparseAutoencoder 400-400, 32-D", _plain(gluon_vae.SparseAutoencoder), 10),
    "denoising": Experiment("DenoisingAutoencoder 400-400, 32-D", _plain(gluon_vae.DenoisingAutoencoder), 10),
    "binarized-50": Experiment(
        "VAE 200-200 tanh, 50-D",
        _binarized("tanh"),
        400,
        (0,),
        learning_rate=2e-3,
        binarized=True,
        initializer=mx.init.Xavier(),
    ),
    "binarized-50-leaky": Experiment(
        "VAE 200-200 leaky, 50-D",
        _binarized("leaky"),
        240,
        kl_warmup=30,
        binarized=True,
        initializer=mx.init.Xavier(),
    ),
}


def run(experiment: Experiment, seed: int, data: gluon_vae.data.Mnist, checkpoint: Path) -> dict[str, Any]:
    """Train one model, from its checkpoint if there is one; return what it reached in nats per image."""
    net = experiment.make()
    net.hybridize(static_alloc=True, static_shape=True)
    if experiment.initializer is not None:
        mx.random.seed(seed)
        net.initialize(experiment.initializer)
    x_test = gluon_vae.binarize(data.x_test) if experiment.binarized else data.x_test
    conditional = getattr(net, "n_classes", None) is not None
    history = gluon_vae.fit(
        net,
        data.x_train,
        x_test,
        y_train=data.y_train if conditional else None,
        y_test=data.y_test if conditional else None,
        binarize=experiment.binarized,
        n_epochs=experiment.n_epochs,
        seed=seed,
        checkpoint=checkpoint,
        resume=True,
        **{setting: getattr(experiment, setting) for setting in SETTINGS},
    )
    result = {name: history[name][-1] for name in history if name.startswith(("train_", "test_"))}
    result["seconds"] = sum(history["seconds"])
    if experiment.binarized:
        estimate = gluon_vae.log_likelihood(net, x_test, n_samples=DRAWS, seed=seed)
        result |= {"log_likelihood": estimate.mean, "log_likelihood_error": estimate.standard_error, "draws": DRAWS}
    return result


def table(record: dict[str, Any]) -> str:
    """Return the Markdown table of recorded runs."""
    lines = [
        "| name | model | data | epochs | not `fit`'s defaults | seeds | test loss | NLL + KL | minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for name, experiment in EXPERIMENTS.items():
        runs = record.get(name, {})
        if not runs:
            continue

        def column(key: str, runs: dict[str, Any] = runs) -> np.ndarray:
            return np.array([one[key] for one in runs.values() if key in one])

        loss = column("test_loss")
        spread = f" ± {loss.std(ddof=1):.2f}" if len(loss) > 1 else ""
        terms = f"{column('test_nll').mean():.1f}"
        if len(column("test_kl")):
            terms += f" + {column('test_kl').mean():.1f}"
        cells = [
            f"`{name}`",
            experiment.model,
            "binarized" if experiment.binarized else "grey",
            experiment.n_epochs,
            _changed(experiment),
            ", ".join(sorted(runs)),
            f"{loss.mean():.2f}{spread}",
            terms,
            f"{column('seconds').mean() / 60:.0f}",
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
        if len(found := -column("log_likelihood")):
            each = ", each" if len(found) > 1 else ""
            notes.append(
                f"{experiment.model}, binarized: −log p(x) by importance sampling with {column('draws').max()} draws "
                f"{', '.join(f'{value:.2f}' for value in found)}{each} ± {column('log_likelihood_error').max():.2f}."
            )
    return "\n".join([*lines, "", *notes]) + "\n"


def _changed(experiment: Experiment) -> str:
    """Say what an experiment does not leave to ``fit``, but for the epochs, which have a column."""
    default = Run()
    changed = [
        f"{setting.replace('_', ' ')} {value:g}"
        for setting in SETTINGS
        if (value := getattr(experiment, setting)) != getattr(default, setting)
    ]
    if experiment.initializer is not None:
        changed.append("Xavier's initial weights")
    return ", ".join(changed)


def main() -> None:
    """Run what is asked for and not recorded yet, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(EXPERIMENTS)} (default: all)")
    parser.add_argument("--seeds", type=int, nargs="*", help="instead of the experiment's own")
    parser.add_argument("--data", default="mnist", help="as in python -m gluon_vae (default: mnist)")
    parser.add_argument("--table", action="store_true", help="only write the table into README.md")
    args = parser.parse_args()
    for name in args.names:
        if name not in EXPERIMENTS:
            parser.error(f"{name!r} is none of {', '.join(EXPERIMENTS)}")
    if args.table:
        text = MARKED.sub(lambda m: m[1] + table(_recorded()) + m[2], README.read_text(encoding="utf-8"))
        with replacing(README) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return
    data = gluon_vae.load_mnist(args.data)
    RECORD.parent.mkdir(exist_ok=True)
    for name in args.names or EXPERIMENTS:
        for seed in EXPERIMENTS[name].seeds if args.seeds is None else args.seeds:
            if str(seed) in _recorded().get(name, {}):
                continue
            print(f"{name}, seed {seed}")
            checkpoint = RECORD.parent / f"{name}-{seed}.checkpoint"
            result = run(EXPERIMENTS[name], seed, data, checkpoint)
            result["threads"] = os.environ.get("OMP_NUM_THREADS", "all")
            record = _recorded()
            record.setdefault(name, {})[str(seed)] = result
            write_json(RECORD, record)
            checkpoint.unlink()
            print(
                f"test loss {result['test_loss']:.2f} nats per image, grey"
                if not EXPERIMENTS[name].binarized
                else result
            )


def _recorded() -> dict[str, Any]:
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


if __name__ == "__main__":
    main()
