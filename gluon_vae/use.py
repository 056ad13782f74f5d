"""``python -m gluon_vae --from CHECKPOINT``: a trained model used, from what its options say to the files written."""

from __future__ import annotations

import argparse

import numpy as np

import mxnet as mx

from . import checks, figures, preflight, subject
from .storage import replacing
from .use_codes import encoded, generated, interpolated
from .use_images import reconstructed, scored

COMMANDS = {
    "generate": (generated, "samples.npz", "samples.png"),
    "reconstruct": (reconstructed, "reconstructions.npz", "reconstructions.png"),
    "encode": (encoded, "codes.npz", "latent.png"),
    "score": (scored, "scores.npz", "scores.png"),
    "interpolate": (interpolated, "interpolation.npz", "interpolation.png"),
}


def run(args: argparse.Namespace, device: mx.Context, load_data: subject.Loader) -> None:
    """Carry out a command, and write its files once all that is in them is computed.

    ``load_data`` loads the images that options name.

    Raises
    ------
    ValueError
        If an option is wrong, or a file that one names.
    OSError
        If what was computed cannot be written.
    """
    compute, arrays_name, picture_name = COMMANDS[args.command]
    try:
        checks.non_negative_int("--seed", getattr(args, "seed", 0))
        about = subject.load(args, device, load_data)
        names = [arrays_name, *([] if args.command == "encode" and about.net.n_latent != 2 else [picture_name])]
        preflight.check_folder(args.out, names)
        result = compute(about, args)
    except OSError as error:  # a file that an option names
        raise ValueError(str(error)) from error
    with replacing(args.out / arrays_name) as temporary:
        np.savez(temporary, **{name: value for name, value in result.arrays.items() if value is not None})
    if result.draws:
        figures.save_picture(args.out / picture_name, result.size, *result.draws)
    print(f"{result.said}\n{' and '.join(names)} {'are' if len(names) > 1 else 'is'} in {args.out.resolve()}")
