"""What all models of the family share: how they are called, what they keep, what defines them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, TypeAlias, TypedDict, TypeVar, overload

import numpy as np

from mxnet import nd, sym
from mxnet.gluon import HybridBlock, nn

from . import checks, likelihoods
from .arrays import Array, device_of, is_finite, to_device, traced_shapes
from .layers import Decoder
from .shapes import ImageShape, checked_width

# Where MXNet puts a batch that a process of a DataLoader made, or one that is to be copied to a GPU.
ON_THE_WAY = ("cpu_shared", "cpu_pinned")

Value = TypeVar("Value")
# A network, or a function that makes one inside the model's name scope.
Network: TypeAlias = HybridBlock | Callable[..., HybridBlock]


class Setting(Generic[Value]):
    """An attribute of a model that defines its computation.

    It is checked whenever it is set, and listed in ``config``. A compiled graph contains its value, so
    that setting it again has the graph compiled anew at the next call. A block around the model has a graph of its
    own, which knows nothing of that: hybridize it again.

    Parameters
    ----------
    check : callable
        Maps a name and a value to the value that is kept, or raises a ``ValueError`` that uses the name.
    argument : str, optional
        The constructor's name for it, where the attribute has another.
    fixed : bool
        Refuse a second value: the parameters' shapes depend on it.
    """

    def __init__(
        self, check: Callable[[str, Any], Value], *, argument: str | None = None, fixed: bool = False
    ) -> None:
        self.check, self.fixed = check, fixed
        self.name = self.argument = argument or ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name, self.argument = name, self.argument or name

    @overload
    def __get__(self, net: None, owner: type) -> Setting[Value]: ...
    @overload
    def __get__(self, net: HybridBlock, owner: type) -> Value: ...
    def __get__(self, net: HybridBlock | None, owner: type) -> Setting[Value] | Value:
        if net is None:
            return self
        if self.name not in vars(net):
            raise AttributeError(f"{self.name} is not set")
        value: Value = vars(net)[self.name]
        return value

    def __set__(self, net: HybridBlock, value: Any) -> None:
        if self.fixed and self.name in vars(net):
            raise AttributeError(f"{self.name} is a part of the architecture: make another model to change it")
        vars(net)[self.name] = self.check(self.argument, value)
        net._clear_cached_op()


def fixed_size() -> Setting[int]:
    """Return the setting of a positive size that stays."""
    return Setting(checks.positive_int, fixed=True)


class Options(TypedDict, total=False):
    """The keyword arguments that every model takes, explained where it is."""

    image_shape: Sequence[int] | None
    likelihood: str | HybridBlock
    variance: float | str | None
    min_std: float | None
    check_input: bool
    prefix: str | None


class Model(HybridBlock):
    """An encoder, a decoder and a likelihood; the loss that joins them is what a member of the family adds.

    A member defines ``hybrid_forward``, which returns the per-sample loss, (batch,), and then what ``output_names``
    names. A call checks what comes in, returns the loss, and keeps the rest on attributes, which so are
    NDArrays in every execution mode. See chapter 1.

    Parameters
    ----------
    encoder, decoder : HybridBlock or callable
        Networks, or functions that make them, whose parameters are then named after their place in the model:
        ``encoder()``, and ``decoder(n)`` for n columns of logits.
    n_latent, n_output : int
        Dimension of the latent, and numbers of an image: its pixels, three times as many in colour.
    image_shape : (channels, height, width), optional
        The picture behind the numbers; ``n_output`` is its product.
    n_classes : int, optional
        If given, the model, its encoder and its decoder are told a label, from 0 to ``n_classes - 1``.
    likelihood, variance, min_std
        See ``likelihoods.make``.
    check_input : bool
        Check pixel values and labels at every call.
    """

    output_names: ClassVar[tuple[str, ...]] = ("mu", "output", "nll")
    noise_name: ClassVar[str | None] = None  # the name of what ``draw_noise`` draws, where there is any

    takes_missing_labels: ClassVar[bool] = False  # -1 for a label that is not known

    code_columns: ClassVar[int] = 1  # what the encoder gives for each latent dimension

    n_latent = fixed_size()
    n_output = fixed_size()
    image_shape: Setting[ImageShape | None] = Setting(checks.optional(checks.image_shape), fixed=True)
    n_classes: Setting[int | None] = Setting(checks.optional(checks.positive_int), fixed=True)

    mu = log_var = output = nll = kl = penalty = None

    def __init__(
        self,
        encoder: Network,
        decoder: Network,
        n_latent: int,
        n_output: int,
        *,
        n_classes: int | None = None,
        image_shape: Sequence[int] | None = None,
        likelihood: str | HybridBlock = "bernoulli",
        variance: float | str | None = None,
        min_std: float | None = None,
        check_input: bool = True,
        prefix: str | None = None,
    ) -> None:
        super().__init__(prefix=prefix)
        self.n_latent, self.image_shape, self.n_classes = n_latent, image_shape, n_classes
        self.n_output = checked_width(n_output, self.image_shape)
        self.check_input = check_input
        with self.name_scope():
            p_x = likelihoods.make(likelihood, self.n_output, variance, min_std)
            n_maps = getattr(p_x, "n_maps", None)
            # In this order: it is the one in which initial parameters are drawn.
            self.encoder = self._network("encoder", encoder)
            self.likelihood = p_x
            logits = self._network("decoder", decoder, (n_maps or 1) * self.n_output)
            self.decoder = Decoder(logits, self.n_output, n_maps)
        self._check_columns("encoder", self.encoder, self.n_output, self.code_columns * self.n_latent)
        if n_maps is not None:
            self._check_columns("decoder", logits, self.n_latent, n_maps * self.n_output)

    @property
    def config(self) -> dict[str, Any]:
        """What defines the computation, by the constructor's names; what was left out has no entry."""
        settings = {}
        for cls in reversed(type(self).__mro__):
            for setting in vars(cls).values():
                if isinstance(setting, Setting) and getattr(self, setting.name) is not None:
                    settings[setting.argument] = getattr(self, setting.name)
        own = {"likelihood": type(self.likelihood).__name__}
        return settings | getattr(self.likelihood, "config", own)

    def forward(self, x: Array, *args: Array) -> Array:
        """Return the loss of images, and keep the other outputs on attributes.

        Parameters
        ----------
        x : (batch, n_output)
            Images, pixels in [0, 1].
        *args
            The labels, (batch,), of a conditional model; then, where the model draws noise, that noise, which
            is drawn if not given.

        Returns
        -------
        (batch,)
            Nats per image.
        """
        if isinstance(x, sym.Symbol):  # traced inside another block: nothing to keep, no shape to draw by
            labels, noise = self._sorted(args)
            return super().forward(x, *noise, *labels)[0]
        return self.call_on(self.call_inputs(x, *args))

    def call_on(self, inputs: Sequence[nd.NDArray | None]) -> nd.NDArray:
        """Return the loss of what ``call_inputs`` gave, and keep the other outputs on attributes."""
        loss, *values = super().forward(*inputs)
        for name, value in zip(self.output_names, values, strict=True):
            setattr(self, name, value)
        return loss

    def call_inputs(self, x: Array, *args: Array) -> list[nd.NDArray | None]:
        """Return what a call gives to ``hybrid_forward``: checked, on the device, with noise that is drawn."""
        labels, noise = self._sorted(args)
        if not isinstance(x, nd.NDArray | np.ndarray):
            raise ValueError(f"x must be an mxnet NDArray or a NumPy array, got {type(x).__name__}")
        x = checks.images("x", x, self.n_output, values=self.check_input)
        if isinstance(x, np.ndarray):
            (x,) = to_device(self, x)
        elif x.context.device_type in ON_THE_WAY:
            x = x.as_in_context(device_of(self))
        return [x, *(self._checked_noise(x, values) for values in noise), *(self._on(x, y) for y in labels)]

    def _sorted(self, args: Sequence[Array]) -> tuple[Sequence[Array], Sequence[Array | None]]:
        """Return the labels among the arguments of a call, and its noise, None where there could be one."""
        n_labels = int(self.n_classes is not None)
        labels, given = args[:n_labels], args[n_labels:]
        if len(labels) < n_labels or len(given) > (self.noise_name is not None):
            accepted = ["x", *["y"] * n_labels]
            calls = [accepted, *([[*accepted, self.noise_name]] if self.noise_name else [])]
            called = " or ".join(f"net({', '.join(call)})" for call in calls)
            raise ValueError(f"the model must be called as {called}, got {1 + len(args)} arguments")
        return labels, [*given, None][:1] if self.noise_name else []

    def draw_noise(self, x: nd.NDArray) -> nd.NDArray | None:
        """Draw what a call on ``x`` in training takes as its last argument; None where a call draws nothing."""
        return None

    def noise_shape(self, x: nd.NDArray) -> tuple[int, ...]:
        """Return the shape of the noise that a call on ``x`` takes."""
        return x.shape

    def default_noise(self, x: nd.NDArray) -> nd.NDArray | None:
        """Return the noise of a call that is given none."""
        return self.draw_noise(x)

    def _checked_noise(self, x: nd.NDArray, noise: Any) -> nd.NDArray | None:
        if noise is None:
            return self.default_noise(x)
        if not isinstance(noise, nd.NDArray | np.ndarray):
            raise ValueError(f"{self.noise_name} must be an NDArray or a NumPy array, got {type(noise).__name__}")
        if noise.shape != self.noise_shape(x):
            raise ValueError(f"{self.noise_name} must have shape {self.noise_shape(x)}, got {noise.shape}")
        if isinstance(noise, np.ndarray):
            with np.errstate(over="ignore"):
                noise = nd.from_numpy(noise.astype(x.dtype))
        noise = noise.as_nd_ndarray().as_in_context(x.context)
        if self.check_input and not is_finite(noise):
            raise ValueError(f"{self.noise_name} must be finite, got NaN or infinity")
        return noise

    def _check_columns(self, name: str, network: HybridBlock, n_input: int, n_columns: int) -> None:
        label = () if self.n_classes is None else ((1,),)
        shapes = traced_shapes(network, (1, n_input), *label)
        if shapes is not None and shapes[-1] != (1, n_columns):
            raise ValueError(
                f"{name} must map (batch, {n_input}) to (batch, {n_columns}), got an output of shape "
                f"(batch, {', '.join(map(str, shapes[-1][1:]))})"
            )

    def _on(self, x: nd.NDArray, y: Any) -> nd.NDArray:
        """Return labels, checked, beside ``x``."""
        missing = self.takes_missing_labels
        y = checks.labels("y", y, len(x), self.n_classes, values=self.check_input, missing=missing)
        return y.as_in_context(x.context) if isinstance(y, nd.NDArray) else nd.array(y, ctx=x.context, dtype=np.int32)

    def _network(self, name: str, network: Network, *arguments: int) -> HybridBlock:
        if not isinstance(network, HybridBlock):
            if not callable(network):
                raise ValueError(f"{name} must be a HybridBlock, got {type(network).__name__}")
            with HybridBlock(prefix=f"{name}_").name_scope():
                network = network(*arguments)
            if not isinstance(network, HybridBlock):
                raise ValueError(f"{name} must make a HybridBlock, got {type(network).__name__}")
        if self.n_classes is not None and isinstance(network, nn.HybridSequential):
            raise ValueError(
                f"n_classes={self.n_classes} was given, and the {name}, a HybridSequential, takes no label: "
                "use ConditionalVAE, or layers.Conditioned around networks of your own"
            )
        return network
