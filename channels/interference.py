"""SINR of all receivers at once, from who is really transmitting."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def interference_w(
    gains: ArrayLike,
    tx_power_w: ArrayLike,
    *,
    serving: ArrayLike,
    activity: ArrayLike = 1.0,
    interferes: ArrayLike | None = None,
) -> FloatArray:
    """Mean power at each receiver from all transmitters but its own: I_r = Σ_{t≠s(r)} a_t·P_t·g_tr.

    Parameters
    ----------
    gains : array_like [T, R] or [T, R, K]
        Power gains from transmitters to receivers, antennas included, linear; in K sub-bands if there is a third axis.
        Links are rows and columns alike where each has a beam of its own: entry (j, i) is then
        the gain from the sender of link j, pointed at its own receiver, to the receiver of link i.
    tx_power_w : array_like [T]
        Transmit powers, of a sub-band where gains have sub-bands.
    serving : array_like of int [R]
        Row of each receiver's own transmitter.
    activity : array_like [T] or scalar
        Fraction of the time for which each transmitter is on, 0 to 1.
    interferes : array_like of bool [T, R], optional
        Which transmitters a receiver hears while it receives: False for those of another band, those that
        share its medium and so are silent meanwhile, or its own node's. Gains that don't count may be
        anything, also nan.

    Returns
    -------
    ndarray of float64 [R] or [R, K]
        Interference power.

    Raises
    ------
    ValueError
        Shapes don't match, or ``serving`` names a row that isn't there.

    Notes
    -----
    The receiver's own transmitter is left out of the sum, not subtracted from it, so interference far below the
    signal keeps all its digits. A receiver's value doesn't depend on which others are asked. Activity is an
    average over time: bursts of interferers are spread out evenly.
    """
    gain = np.asarray(gains, dtype=np.float64)
    if gain.ndim not in (2, 3):
        raise ValueError(f"gains have shape {gain.shape}; expected [transmitters, receivers] or with sub-bands behind")
    num_tx, num_rx = gain.shape[:2]
    served_by = np.asarray(serving, dtype=np.int64)
    if served_by.shape != (num_rx,) or np.any((served_by < 0) | (served_by >= num_tx)):
        raise ValueError(f"serving needs one row, 0 to {num_tx - 1}, for each of {num_rx} receivers")
    power_w = np.asarray(tx_power_w, dtype=np.float64) * np.asarray(activity, dtype=np.float64)
    if power_w.shape != (num_tx,):
        raise ValueError(f"tx_power_w and activity need one element for each of {num_tx} transmitters")
    counts = np.ones((num_tx, num_rx), dtype=np.bool_) if interferes is None else np.array(interferes, dtype=np.bool_)
    if counts.shape != (num_tx, num_rx):
        raise ValueError(f"interferes has shape {counts.shape}; expected {(num_tx, num_rx)}")
    counts[served_by, np.arange(num_rx)] = False

    # Transmitters last and contiguous: the order of the sum is then the same whatever receivers are asked.
    to_rx = np.ascontiguousarray(np.moveaxis(gain, 0, -1))
    heard = counts.T if gain.ndim == 2 else counts.T[:, None, :]
    received_w = np.multiply(to_rx, power_w, where=heard, out=np.zeros_like(to_rx))
    return np.asarray(received_w.sum(axis=-1))


def sinr(
    signal_w: ArrayLike,
    gains: ArrayLike,
    tx_power_w: ArrayLike,
    *,
    noise_w: ArrayLike,
    serving: ArrayLike,
    activity: ArrayLike = 1.0,
    interferes: ArrayLike | None = None,
) -> FloatArray:
    """Signal to interference and noise of receivers: S_r / (N_r + I_r), linear.

    Parameters
    ----------
    signal_w : array_like [R] or [R, K]
        Power received from the own transmitter while it is on.
    gains, tx_power_w, serving, activity, interferes
        As in ``interference_w``.
    noise_w : array_like [R] or scalar
        Noise power, of the same bandwidth as the transmit powers; above 0.

    Returns
    -------
    ndarray of float64 [R] or [R, K]
        SINR.

    Raises
    ------
    ValueError
        Shapes don't match.
    """
    interference = interference_w(gains, tx_power_w, serving=serving, activity=activity, interferes=interferes)
    signal, noise = np.asarray(signal_w, dtype=np.float64), np.asarray(noise_w, dtype=np.float64)
    if signal.shape != interference.shape:
        raise ValueError(f"signal_w has shape {signal.shape}; expected {interference.shape}")
    if noise.shape not in ((), interference.shape[:1]):
        raise ValueError(f"noise_w has shape {noise.shape}; expected one number or {interference.shape[:1]}")
    if noise.ndim < interference.ndim:
        noise = noise[..., None]
    return np.asarray(signal / (noise + interference))
