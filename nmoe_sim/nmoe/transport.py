"""Family ``feature_transport``: how features travel to a remote expert, and what of them arrives."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from nmoe_sim.scenario.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor


class FeatureTransport(Spec):
    """An encoding of a sample's D features, float32 at the client; subclasses implement both methods.

    An expert computes on what arrived; one on the client's own device, on the features themselves.
    """

    is_exact: ClassVar[bool] = False
    """Whether what arrives is what was sent, bit for bit."""
    is_analog: ClassVar[bool] = False
    """Whether the values go on air as they are, so that noise is added by the SNR; else bits do, which arrive whole."""

    @abstractmethod
    def num_bytes(self, num_features: int) -> int:
        """Return the bytes of one sample's payload."""

    @abstractmethod
    def received(self, h_BD: Tensor) -> Tensor:
        """Return what arrives, before any noise; a function of each sample alone."""


class Float32(FeatureTransport):
    """The features as they are, 4 bytes each."""

    kind: ClassVar[str] = "fp32"
    is_exact: ClassVar[bool] = True

    def num_bytes(self, num_features: int) -> int:
        """4 D."""
        return 4 * num_features

    def received(self, h_BD: Tensor) -> Tensor:
        """Return the features themselves."""
        return h_BD


class Float16(FeatureTransport):
    """IEEE 754 half precision: a relative error of at most 2^-11 from 2^-14 to 65,504, beyond which values are cut."""

    kind: ClassVar[str] = "fp16"

    def num_bytes(self, num_features: int) -> int:
        """2 D."""
        return 2 * num_features

    def received(self, h_BD: Tensor) -> Tensor:
        """Return the nearest half-precision values."""
        import torch

        largest = torch.finfo(torch.float16).max
        return h_BD.clamp(-largest, largest).to(torch.float16).to(h_BD.dtype)


class Int8(FeatureTransport):
    """One byte a value, affine between the sample's smallest and largest value, which go along as floats.

    h' = min + scale · round((h − min) / scale) with scale = (max − min) / 255, so |h' − h| ≤ scale / 2.
    """

    kind: ClassVar[str] = "int8"

    def num_bytes(self, num_features: int) -> int:
        """D + 8."""
        return num_features + 8

    def received(self, h_BD: Tensor) -> Tensor:
        """Return the values of the bytes."""
        import torch

        low_B1, high_B1 = h_BD.aminmax(dim=-1, keepdim=True)
        scale_B1 = (high_B1 - low_B1) / 255.0
        steps_BD = ((h_BD - low_B1) / torch.where(scale_B1 > 0, scale_B1, 1.0)).round()
        return low_B1 + scale_B1 * steps_BD


class Analog(FeatureTransport):
    """Uncoded symbols: D values modulate ⌈D/2⌉ complex symbols, and noise is added to each value.

    h' = h + n with n ~ N(0, P_h/γ · I), γ the SNR of the transfer on the air and P_h the mean square of the sample's
    values: each payload is scaled to the sender's power. It takes ⌈D/2⌉ symbols at one symbol/s/Hz of what it gets of
    the band, however bad the channel; nothing is coded, lost or sent by HARQ.

    Relays amplify and forward, each to its full power, so that over several radio hops 1 + 1/γ = Π (1 + 1/γ_i).
    γ_i is the hop's SNR on the whole band when its first symbol is sent, the table's ``sinr_db``, interference
    counted as noise; of a hop that was tried again, the mean noise power of its parts.

    In tables a payload has 8 bytes a symbol, its two values as floats; a wire carries these, exactly.

    Left out: the scale, as side information; a limit on peak power; changes of the SNR while a hop lasts; that power
    concentrated in a part of the band (fdma) makes the SNR of that part higher; linear estimation at the receiver,
    which would shrink h' towards the mean.

    Source: channel-aware gating for mixtures of experts over wireless links (arXiv 2504.00819) describes the analog
    transmission of features; the noise's form is our reading.
    """

    kind: ClassVar[str] = "analog"
    is_analog: ClassVar[bool] = True

    def num_bytes(self, num_features: int) -> int:
        """8 ⌈D/2⌉."""
        return 8 * -(-num_features // 2)

    def received(self, h_BD: Tensor) -> Tensor:
        """Return the features themselves; see ``add_noise``."""
        return h_BD


def add_noise(h_BD: Tensor, noise_to_signal_B: Tensor, standard_BD: Tensor) -> Tensor:
    """Return h + √(P_h · noise_to_signal) · standard, with P_h the mean square of each sample's values.

    Parameters
    ----------
    h_BD : Tensor
        Features; they may have more batch axes, as the others.
    noise_to_signal_B : Tensor
        1/γ of each sample's transfer, linear.
    standard_BD : Tensor
        Standard normal draws.
    """
    power_B1 = h_BD.square().mean(dim=-1, keepdim=True)
    return h_BD + (power_B1 * noise_to_signal_B.unsqueeze(-1)).sqrt() * standard_BD
