"""The command line of a trained model, ``--from CHECKPOINT``: its manual and its parsers."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from . import process
from .options import image_shape
from .picture_files import BACKGROUNDS

EPILOG = """\
commands, each with its own --help:
  generate     decode draws from the prior, or codes of your own: samples.npz, samples.png
  reconstruct  test images beside what the model makes of them: reconstructions.npz, reconstructions.png
  encode       the codes of all images: codes.npz and, of a 2-D latent, latent.png
  score        how strange images are, and from where on they are anomalies: scores.npz, scores.png
  interpolate  ways through the latent space from one image to another: interpolation.npz, interpolation.png

CHECKPOINT is a file that training wrote, out/checkpoint for one. It may come from anyone: nothing in it is executed.
A model that was composed of networks of your own is not rebuilt by it: that takes a script, and
gluon_vae.load(CHECKPOINT, net).

--data names the images as it does in training, and takes the same: give it, --image-shape and --test-share as they
were given there, or what is called the test part may have been trained on. The first line printed tells.

An .npz file is read with numpy.load(FILE): arrays by name. Images are flat, (n, n_output), pixels in [0, 1];
image_shape, which is with them, is (channels, height, width).

examples:
  python -m gluon_vae --from out/checkpoint generate
  python -m gluon_vae --from out/checkpoint generate --label 7 --n 36 --seed 1 --out sevens
  python -m gluon_vae --from out/checkpoint score --scored pictures/
  python -m gluon_vae --from out/checkpoint interpolate --pairs 3,17 5,8 --steps 12
"""
OF_DATA = "{sample,mnist,PATH}"


def split(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Return the checkpoint that ``--from`` names, if it is there, and the other arguments."""
    parser = argparse.ArgumentParser(prog=process.PROGRAM, add_help=False, allow_abbrev=False)
    parser.add_argument("--from", dest="checkpoint", type=Path, metavar="CHECKPOINT")
    known, rest = parser.parse_known_args(arguments)
    return known.checkpoint, rest


def build_parser(checkpoint: Path) -> argparse.ArgumentParser:
    """Return the parser of what follows ``--from CHECKPOINT``."""
    parser = argparse.ArgumentParser(
        prog=f"{process.PROGRAM} --from CHECKPOINT",
        description="Use a trained model: write what it makes of codes or images as pictures and as arrays.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(checkpoint=checkpoint)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, help="see below")
    for name, (description, add_options) in COMMANDS.items():
        command = commands.add_parser(
            name,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        add_options(command)
        option = command.add_argument
        option("--image-shape", type=image_shape, metavar="C,H,W", help="channels, height and width of the images")
        option("--test-share", type=float, metavar="S", help="of --data without a test part (default: 0.2)")
        option(
            "--background", choices=BACKGROUNDS, help="what transparent pixels are laid over; else they are refused"
        )
        option("--device", choices=("auto", "cpu", "gpu"), default="auto", help="auto: a GPU if MXNet has one")
        option("--out", type=Path, default=Path("out"), metavar="FOLDER", help="created if missing (default: out)")
    return parser


def _data(parser: argparse.ArgumentParser, help_: str) -> None:
    parser.add_argument("--data", metavar=OF_DATA, help=help_)


def _seed(parser: argparse.ArgumentParser, help_: str) -> None:
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=f"{help_} (default: 0)")


GENERATE = """\
Decode draws from the prior N(0, I), or codes of a file.

Of a model that takes labels every code is decoded with every label, one label to a column, unless --label names one.
An autoencoder has no prior: give it codes with --z.

samples.png   the images, the first 400 of them
samples.npz   images, (n, n_output); z, (n, n_latent); labels, (n,), where there are any; image_shape"""


def _generate(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--n", type=int, metavar="N", help="draws (default: 100, and 10 where each is decoded with every label)")
    option("--z", type=Path, metavar="FILE.npy", help="floating-point codes, (n, n_latent), instead of draws")
    option("--label", metavar="L", help="of all images: a number from 0, or with --data a class's name")
    option(
        "--temperature",
        type=float,
        default=1.0,
        metavar="T",
        help="standard deviation of the draws. Below 1 they keep to where the prior is high: images become more "
        "typical and less diverse, and are no longer draws from the model (default: 1)",
    )
    option("--pixels", choices=("mean", "sample"), default="mean", help="of p(x|z): its mean, or a draw from it")
    _seed(parser, "fixes the draws")
    _data(parser, "images like those trained on, for the names of labels, and whether 1 is ink or light; not needed")


RECONSTRUCT = """\
Encode test images and decode the means of their posteriors.

reconstructions.png   each image above its reconstruction, the first 100
reconstructions.npz   x and output, (n, n_output); nll, -log p(x|z) at z = mu in nats, (n,); index, the place of each
                      in the test part; labels, where there are any; image_shape"""


def _reconstruct(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--n", type=int, default=40, metavar="N", help="how many, drawn by --seed (default: 40)")
    option(
        "--index", type=int, nargs="+", metavar="I", help="these instead, by their places in the test part, from 0"
    )
    _seed(parser, "fixes which")
    _data(parser, "whose test images (default: sample)")


ENCODE = """\
Encode all images.

codes.npz    mu_train and mu_test, the means of the posteriors or an autoencoder's codes, (n, n_latent); log_var_train
             and log_var_test, of a VAE; y_train and y_test, and class_names, where there are labels;
             label_probabilities_train and _test, q(y|x), of a SemiSupervisedVAE
latent.png   of a 2-D latent: the test images' means, as they are and through norm.cdf, or their codes"""


def _encode(parser: argparse.ArgumentParser) -> None:
    _data(parser, "which images (default: sample)")


SCORE = """\
Tell how strange images are to the model, in nats, the higher the stranger, and from where on one is an anomaly.

Of a VAE the score is -log p(x), by importance sampling; the negative ELBO is beside it. Of a model that takes labels
both are those of p(x) = 1/C sum_y p(x|y). Of an autoencoder it is the reconstruction's loss, which is no likelihood.

The threshold is chosen on half of the test part of --data, drawn by --seed: at most the share of ordinary images that
--share allows is above it. How many of the other half are is printed, with its standard error, as a check.

A warning that the numbers do not give: images simpler than those trained on, a blank one for instance, often score
lower than they. Look at scores.png, and at what is flagged.

scores.png   histograms and threshold; the images with the highest scores, those above the threshold framed
scores.npz   neg_log_p and neg_elbo, or nll, of the test part; threshold, share, false_alarms, standard_error;
             chosen_on and checked_on, places in the test part; with --scored also scored_neg_log_p and so on,
             scored_flagged, and scored_names: the files, or places in the array"""


def _score(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    _data(parser, "ordinary images, of whose test part the threshold is chosen (default: sample)")
    option("--scored", metavar="PATH", help="images to be judged, all that are there, of the same shape")
    option(
        "--invert", action="store_true", help="judge 1 - x: of dark ink on white paper, where the model has 1 as ink"
    )
    option("--share", type=float, default=0.05, metavar="S", help="of ordinary images above at most (default: 0.05)")
    option("--n-samples", type=int, default=100, metavar="K", help="draws of z per image (default: 100)")
    _seed(parser, "fixes the halves and the draws of z")


INTERPOLATE = """\
Walk through the latent space from one test image to another, or from the mean code of one class to that of another.

interpolation.png   a way to a row, between the two images that it leads from and to
interpolation.npz   images, (n_ways, steps, n_output); z, (n_ways, steps, n_latent); ends, (n_ways, 2), places in the
                    test part, or classes; labels, (n_ways, steps), of a model that takes them; image_shape"""


def _interpolate(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    ends = parser.add_mutually_exclusive_group().add_argument
    ends("--pairs", type=_places, nargs="+", metavar="A,B", help="places in the test part, from 0")
    ends("--classes", type=_two, nargs="+", metavar="A,B", help="classes, by name or by number from 0")
    ends("--n", type=int, default=8, metavar="N", help="so many pairs of test images, drawn by --seed (default: 8)")
    option("--steps", type=int, default=10, metavar="K", help="images on a way, both ends included (default: 10)")
    option(
        "--arc",
        action="store_true",
        help="around the origin instead of straight: in many dimensions a line passes nearer to it than codes lie",
    )
    option(
        "--labels",
        choices=("keep", "change"),
        default="keep",
        help="of a model that takes them: that of the first end all the way, or of the second from the middle on",
    )
    _seed(parser, "fixes which pairs")
    _data(parser, "whose test images (default: sample)")


def _two(text: str) -> tuple[str, str]:
    first, comma, second = text.partition(",")
    if not first or not comma or not second:
        raise argparse.ArgumentTypeError(f"must be two, separated by a comma, got {text!r}")
    return first, second


def _places(text: str) -> tuple[int, int]:
    first, second = _two(text)
    try:
        return int(first), int(second)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be two places in the test part, got {text!r}") from None


COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "generate": (GENERATE, _generate),
    "reconstruct": (RECONSTRUCT, _reconstruct),
    "encode": (ENCODE, _encode),
    "score": (SCORE, _score),
    "interpolate": (INTERPOLATE, _interpolate),
}
