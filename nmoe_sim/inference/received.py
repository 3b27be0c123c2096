"""What experts say to the features that reached them, after the clock has run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nmoe_sim.nmoe.cohort import State
    from nmoe_sim.nmoe.transport import FeatureTransport
    from nmoe_sim.results.recorder import Recorder
    from nmoe_sim.rng import RandomStreams

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

Outputs = Callable[[IntArray, IntArray], "Tensor"]
"""outputs(requests [B], experts [B, K]) → logits [B, K, C]."""

MOST_NOISE = 1e6
"""Noise over signal that counts at most, -60 dB of SNR: what arrives is noise alone, but finite."""


@dataclass(frozen=True)
class ExactOutputs:
    """Where features arrive as they were sent: a look into the table of all outputs."""

    table_ETC: Tensor
    """Logits of every expert for the test set."""
    sample: IntArray
    """Row of the test set of each request [R]."""

    def __call__(self, requests: IntArray, experts: IntArray) -> Tensor:
        """See ``Outputs``."""
        import torch

        return self.table_ETC[torch.from_numpy(experts), torch.from_numpy(self.sample[requests][:, None])]


@dataclass(frozen=True)
class ReceivedOutputs:
    """Where they don't: experts on the client's own device still look at the features themselves.

    What arrives of a digital payload is a function of the sample, so it is a second table. Analog payloads are
    received one by one: all pairs of request and expert of a batch, grouped by expert. Experts on one host
    share what it received.
    """

    exact: ExactOutputs
    transport: FeatureTransport
    h_TD: Tensor
    """Features of the test set."""
    expert: nn.Module
    """Architecture of an expert."""
    experts: Sequence[State]
    hosts: IntArray
    """Number of each expert's host [E]."""
    clients: IntArray
    """Number of the device that sends each request [R]."""
    noise: AnalogNoise | None
    """None: digital."""
    table_ETC: Tensor
    """Logits of every expert for the test set as it is received, before noise."""

    @classmethod
    def build(
        cls,
        exact: ExactOutputs,
        transport: FeatureTransport,
        h_TD: Tensor,
        expert: nn.Module,
        experts: Sequence[State],
        *,
        hosts: IntArray,
        clients: IntArray,
        noise: AnalogNoise | None,
    ) -> ReceivedOutputs:
        """Compute the table of what is received; the arguments are the fields."""
        from nmoe_sim.nmoe.evaluate import expert_outputs

        received_TD = transport.received(h_TD)
        table_ETC = exact.table_ETC if noise is not None else expert_outputs(expert, experts, received_TD)
        return cls(exact, transport, received_TD, expert, experts, hosts, clients, noise, table_ETC)

    def __call__(self, requests: IntArray, experts: IntArray) -> Tensor:
        """See ``Outputs``."""
        import torch

        is_remote = self.hosts[experts] != self.clients[requests][:, None]
        outputs_BKC = self.exact(requests, experts)
        if self.noise is None:
            received_BKC = ExactOutputs(self.table_ETC, self.exact.sample)(requests, experts)
            keep = torch.from_numpy(is_remote).to(outputs_BKC.device)
            return torch.where(keep.unsqueeze(-1), received_BKC, outputs_BKC)
        module = copy.deepcopy(self.expert).eval()
        for expert in np.unique(experts[is_remote]).tolist():
            row, place = np.nonzero((experts == expert) & is_remote)
            h_BD = self.noise.add(self.h_TD, self.exact.sample, requests[row], self.hosts[expert])
            module.load_state_dict(dict(self.experts[expert]))
            with torch.no_grad():
                outputs_BKC[torch.from_numpy(row), torch.from_numpy(place)] = module(h_BD)
        return outputs_BKC


@dataclass(frozen=True)
class AnalogNoise:
    """The noise of every analog payload of features, by request and host.

    Parameters
    ----------
    key : ndarray of int64 [P]
        request · num_nodes + host, rising.
    noise_to_signal : ndarray of float64 [P]
        1/γ of the whole way.
    num_nodes : int
    streams : RandomStreams
        Stream ``feature_noise``, by request, host and feature.
    """

    key: IntArray
    noise_to_signal: FloatArray
    num_nodes: int
    streams: RandomStreams

    @classmethod
    def of(cls, recorder: Recorder, nodes: Sequence[str], streams: RandomStreams) -> AnalogNoise:
        """Read off the table ``transfers`` what every payload met: 1 + 1/γ = Π (1 + 1/γ_i) over its radio hops.

        Of a hop's attempts, 1/γ_i is the mean by what each sent.
        """
        number = {name: i for i, name in enumerate(nodes)}
        columns = ["request_id", "payload_id", "hop", "dst", "kind", "bytes_sent", "sinr_db"]
        ids, values = [np.empty((4, 0), np.int64)], [np.empty((2, 0))]
        for batch in recorder.batches("transfers", columns):
            of_requests = batch.filter(batch["request_id"].is_valid()).to_pydict()
            if not of_requests["kind"]:
                continue
            is_wanted = (np.array(of_requests["kind"]) == "features") & (np.array(of_requests["bytes_sent"]) > 0)
            of_requests["dst"] = [number[name] for name in of_requests["dst"]]
            ids.append(
                np.array([of_requests[name] for name in ("request_id", "dst", "payload_id", "hop")])[:, is_wanted]
            )
            snr_db = np.array([np.inf if db is None else db for db in of_requests["sinr_db"]])  # None: a wire
            noise = np.minimum(10.0 ** (-snr_db / 10.0), MOST_NOISE)
            values.append(np.array([noise, of_requests["bytes_sent"]])[:, is_wanted])
        (request, dst, payload, hop), (noise, sent) = np.concatenate(ids, axis=1), np.concatenate(values, axis=1)
        hops, first, of_hop = _grouped(np.stack([payload, hop]))
        of_hop_mean = np.bincount(of_hop, noise * sent) / np.bincount(of_hop, sent)
        _, _, of_payload = _grouped(hops[:1])
        total = np.expm1(np.bincount(of_payload, np.log1p(of_hop_mean)))
        last = first[np.flatnonzero(np.diff(of_payload, append=-1))]  # a row of each payload's last hop, to its host
        key = request[last] * len(nodes) + dst[last]
        order = np.argsort(key)
        return cls(key[order], np.minimum(total[order], MOST_NOISE), len(nodes), streams)

    def add(self, h_TD: Tensor, sample: IntArray, requests: IntArray, host: int) -> Tensor:
        """Return the features of requests [B] as a host received them."""
        import torch

        from nmoe_sim.nmoe.transport import add_noise

        key = requests * self.num_nodes + host
        at = np.searchsorted(self.key, key)
        assert np.array_equal(self.key[at], key), "an expert answered whose host got no features"
        h_BD = h_TD[torch.from_numpy(sample[requests])]
        standard = self.streams.normal("feature_noise", requests[:, None], host, np.arange(h_TD.shape[1]))
        noise_to_signal_B = torch.from_numpy(self.noise_to_signal[at]).to(h_BD)
        return add_noise(h_BD, noise_to_signal_B, torch.from_numpy(standard).to(h_BD))


def _grouped(keys: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return the different columns of ``keys``, rising; where each comes first; and which one each column is."""
    values, first, inverse = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    return values, first, inverse.reshape(-1)
