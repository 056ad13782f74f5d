"""The command line: a run, from what its options say to the files that it writes, and how it ends."""

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

from . import checkpoint as checkpoints
from . import checks, distributed, figures, launcher, openmp, preflight, process, streams, use, use_options
from .adam import multiply_rates
from .data import Mnist, load_mnist
from .evaluation import elbo
from .export import check_onnx, export_onnx, file_names
from .images import Images, describe, load_images
from .options import VAES, build_model, build_parser
from .storage import replacing, write_json
from .training import default_device, fit

# What ends a run with a sentence.
ENDINGS = (KeyboardInterrupt, ValueError, FloatingPointError, OSError, MemoryError, mx.MXNetError)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; what goes wrong ends it with one sentence, and exit code 2 if that is the input."""
    with streams.steady() as (out, _):
        given = sys.argv[1:] if arguments is None else arguments
        trained, rest = use_options.split(given)
        parser = build_parser() if trained is None else use_options.build_parser(trained)
        args = parser.parse_args(rest)
        before = _stamp(args.out)
        try:
            if trained is None:
                _run(args, given)
            else:
                use.run(args, _device(args.device), _loaded)
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
    if has_saved or (getattr(args, "resume", False) and _stamp(args.out)):
        saved = f"; what the last epoch saved is in {args.out}"
    if isinstance(error, KeyboardInterrupt):
        before = "" if hasattr(args, "command") else " before anything was saved"
        when = f"{saved}: go on with --resume" if saved else before
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


def _prepared(args: argparse.Namespace) -> tuple[HybridBlock, mx.Context, Mnist | Images]:
    """Return what the options describe, or raise an error that names a wrong one."""
    for name in ("epochs", "batch_size", "workers"):
        checks.positive_int("--" + name.replace("_", "-"), getattr(args, name))
    checks.positive_number("--learning-rate", args.learning_rate)
    checks.non_negative_int("--seed", args.seed)
    checks.non_negative_int("--rate-warmup", args.rate_warmup)
    checks.non_negative_int("--kl-warmup", args.kl_warmup)
    checks.optional(checks.positive_int)("--patience", args.patience)
    checks.optional(checks.positive_number)("--clip-norm", args.clip_norm)
    if args.kl_warmup and args.model not in VAES:
        raise ValueError(f"--kl-warmup weighs the KL of a VAE; --model {args.model} has none")
    checks.optional(checks.fraction)("--test-share", args.test_share)
    if args.export is not None:
        try:
            check_onnx()
        except ImportError as error:
            raise ValueError(f"--export: {error}") from error
    device = _device(args.device)
    is_mnist = args.data in ("sample", "mnist")  # whose shape is known: a wrong option is found before a download
    data = None if is_mnist else _loaded(args)
    about = data or Mnist
    if device.device_type == "cpu":
        n_layers = 1 if args.model == "conv" else args.n_layers
        preflight.check_memory(lambda n: build_model(args, n, about), n_layers, args.workers)
    net = build_model(args, args.n_layers, about)
    multiply_rates(net, dict(args.lr_mult))
    data = data or _loaded(args)
    if args.workers > min(args.batch_size, len(data.x_train)):
        raise ValueError(f"--workers must be at most --batch-size, {args.batch_size}, got {args.workers}")
    files = ["checkpoint", "model.params", "history.json", *figures.names(net)]
    preflight.check_folder(args.out, files, files[:1] if args.resume else ())
    if args.export is not None:
        preflight.check_folder(args.export, file_names(net))
    return net, device, data


def _loaded(args: argparse.Namespace) -> Mnist | Images:
    """Load what --data names; its split does not change with --seed, so that runs with several can be compared."""
    options = {"image_shape": args.image_shape, "test_share": args.test_share, "background": args.background}
    if args.data in ("sample", "mnist") and not any(options.values()):
        return load_mnist(args.data)
    return load_images(args.data, **options)


def _train(net: HybridBlock, device: mx.Context, data: Mnist | Images, args: argparse.Namespace) -> None:
    kvstore = distributed.connect() if distributed.is_worker() else None
    leads = kvstore is None or kvstore.rank == 0
    checkpoint = args.out / "checkpoint"
    if leads:
        found = describe(data)
        threads = os.environ.get(openmp.THREADS)
        where = f"{device}, {openmp.THREADS}={threads}" if threads else device
        print(f"{found}; {_architecture(net, args)} on {where}")
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
        rate_warmup=args.rate_warmup,
        kl_warmup=args.kl_warmup,
        patience=args.patience,
        clip_norm=args.clip_norm,
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
        images = "digits" if isinstance(data, Mnist) else "pictures"
        measure = "ELBO"
        reached = f"{estimate} nats per image (z sampled; mean ± standard error over the test {images})"
    else:
        last = history.get("best_epoch", history["epoch"])[-1]  # the one whose parameters the model has
        measure, reached = "loss", f"{history['test_loss'][int(last) - 1]:.1f} nats per image"
    print(f"Test {measure}: {reached}")
    if args.export is not None:
        training = f"{len(history['epoch'])} epochs, seed {args.seed}"
        if args.patience is not None:
            training = f"the best epoch, {history['best_epoch'][-1]}, of {training}"
        export_onnx(net, args.export, metadata={"data": found, "training": training, measure: reached})
        print(f"The networks are in {args.export.resolve()}: {', '.join(file_names(net))}")
    print(f"Parameters, history and pictures are in {args.out.resolve()}")


class _FileName(str):
    """A file's name as the system knows it; MXNet would encode it as UTF-8, which not every name can be."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return super().encode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


def _device(name: str) -> mx.Context:
    if name == "auto":
        return default_device()
    if name == "gpu" and not mx.context.num_gpus():
        raise ValueError("--device gpu: this MXNet has no GPU; use --device cpu or auto")
    return mx.gpu() if name == "gpu" else mx.cpu()


def _architecture(net: HybridBlock, args: argparse.Namespace) -> str:
    hidden = net.config["channels"] if args.model == "conv" else [args.n_hidden] * args.n_layers
    return f"{type(net).__name__} {'-'.join(map(str, [net.n_output, *hidden, net.n_latent]))}"


if __name__ == "__main__":
    process.run(main)
