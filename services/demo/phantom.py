"""A chest made of simple bodies: what a CT scanner would see of it, in Hounsfield units.

Axes are the patient's (DICOM LPS, mm): x to the left, y to the back, z to the head; the origin lies in the middle of the chest. Every surface is
softened over one voxel, so that a sphere's voxels add up to its volume (partial volume), and slices are averaged over their thickness.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Point = npt.NDArray[np.float64]
Window = tuple[slice, slice]
WHOLE: Window = (slice(None), slice(None))

AIR, LUNG, FAT, MUSCLE, BLOOD, VESSEL, BONE, MARROW, NODULE = (
    -1000.0,
    -860.0,
    -95.0,
    48.0,
    55.0,
    40.0,
    620.0,
    170.0,
    42.0,
)
SUBSLICES = 3
"""Planes averaged into one slice: the slice sensitivity profile as a box."""
NOISE_HU = 14.0
VESSELS = 70


@dataclass(frozen=True)
class Grid:
    """An axial stack: `slices` of rows x columns, from the feet to the head; `first_z` is the middle of the first slice in mm."""

    slices: int
    thickness: float
    first_z: float
    rows: int = 256
    columns: int = 256
    pixel: float = 1.4

    @property
    def origin(self) -> tuple[float, float]:
        """x and y of the middle of the first pixel, in mm."""
        return -(self.columns - 1) / 2 * self.pixel, -(self.rows - 1) / 2 * self.pixel

    def plane(self) -> tuple[Floats, Floats]:
        """x [1, W] and y [H, 1] of the pixels, in mm."""
        x0, y0 = self.origin
        x = np.arange(self.columns, dtype=np.float32)[None, :] * self.pixel + x0
        y = np.arange(self.rows, dtype=np.float32)[:, None] * self.pixel + y0
        return x, y


@dataclass(frozen=True)
class Sphere:
    x: float
    y: float
    z: float
    diameter: float


@dataclass(frozen=True)
class Tube:
    """A straight vessel from `start` to `end` that tapers from `radius` to a third of it."""

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radius: float


@dataclass(frozen=True)
class Chest:
    """The patient: vessels, and the lesion as it is on one day. `shift` is how the patient lies on the table that day (x, y, z in mm)."""

    vessels: tuple[Tube, ...]
    nodule: Sphere
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)


def make_vessels(seed: int, keep_clear: Sphere) -> tuple[Tube, ...]:
    """Vessels from both hila into the lungs; none comes near `keep_clear`, so that what grows there can be measured."""
    random = np.random.default_rng(seed)
    tubes: list[Tube] = []
    while len(tubes) < VESSELS:
        side = 1.0 if random.random() < 0.5 else -1.0
        start = (side * 38.0, 5.0 + random.normal(0, 6), random.normal(0, 18))
        end = (side * random.uniform(62, 118), random.uniform(-62, 70), start[2] + random.uniform(-70, 70))
        tube = Tube(start, end, float(random.uniform(0.9, 2.8)))
        if _distance_to(tube, keep_clear) > keep_clear.diameter / 2 + 6.0:
            tubes.append(tube)
    return tuple(tubes)


def _distance_to(tube: Tube, sphere: Sphere) -> float:
    """From the sphere's centre to the tube's axis, in mm."""
    start, axis = np.array(tube.start), np.array(tube.end) - np.array(tube.start)
    centre = np.array([sphere.x, sphere.y, sphere.z])
    t = float(np.clip((centre - start) @ axis / (axis @ axis), 0, 1))
    return float(np.linalg.norm(centre - start - t * axis))


def scan(chest: Chest, grid: Grid, seed: int) -> npt.NDArray[np.int16]:
    """HU int16 [D, H, W], slice 0 nearest to the feet; noise comes from `seed` alone."""
    random = np.random.default_rng(seed)
    volume = np.empty((grid.slices, grid.rows, grid.columns), dtype=np.int16)
    offsets = ((np.arange(SUBSLICES) + 0.5) / SUBSLICES - 0.5) * grid.thickness
    for k in range(grid.slices):
        middle = grid.first_z + k * grid.thickness
        planes = [_plane(chest, grid, float(middle + offset)) for offset in offsets]
        noise = _grain(random.normal(0.0, NOISE_HU, (grid.rows, grid.columns)).astype(np.float32))
        volume[k] = np.clip(np.rint(np.mean(planes, axis=0) + noise), -1024, 3071).astype(np.int16)
    return volume


def _grain(noise: Floats) -> Floats:
    """Noise of a filtered back projection is not white: neighbours hang together."""
    smooth = noise + 0.5 * (np.roll(noise, 1, 0) + np.roll(noise, -1, 0) + np.roll(noise, 1, 1) + np.roll(noise, -1, 1))
    return np.asarray(smooth / np.float32(np.sqrt(2.0)), dtype=np.float32)


def _plane(chest: Chest, grid: Grid, z: float) -> Floats:
    """One infinitely thin plane, without noise: bodies painted from the outside in."""
    x, y = grid.plane()
    x, y, z = x - chest.shift[0], y - chest.shift[1], z - chest.shift[2]
    image = np.full((grid.rows, grid.columns), AIR, dtype=np.float32)
    lungs = _lungs(x, y, z, grid.pixel)
    for window, inside, value in _anatomy(x, y, z, grid.pixel, lungs):
        part = image[window]
        part += inside * (value - part)
    for tube in chest.vessels:
        _paint_tube(image, lungs, tube, x, y, z, grid.pixel)
    return np.asarray(image + _ball(chest.nodule, x, y, z, grid.pixel) * (NODULE - image), dtype=np.float32)


def _anatomy(x: Floats, y: Floats, z: float, soft: float, lungs: Floats) -> Iterator[tuple[Window, Floats, float]]:
    yield *_oval(x, y, 0, 0, 158, 112, soft), FAT
    yield *_oval(x, y, 0, 2, 143, 98, soft), MUSCLE
    yield from _ribs(x, y, z, soft)
    yield WHOLE, lungs, LUNG
    yield from _heart(x, y, z, soft)
    yield *_oval(x, y, 22, 44, 12.5, 12.5, soft), BLOOD
    yield *_oval(x, y, -14, -18, 10, 9, soft), BLOOD
    yield from _airways(x, y, z, soft)
    yield from _spine(x, y, z, soft)
    yield *_oval(x, y, 0, -86, 16, 5, soft), BONE
    yield *_oval(x, y, 0, -86, 13, 3, soft), MARROW


def _oval(x: Floats, y: Floats, cx: float, cy: float, rx: float, ry: float, soft: float) -> tuple[Window, Floats]:
    """An ellipse within the window outside of which it is 0: most bodies of a chest are small, and there are dozens in every plane."""
    reach = 1.001 + 0.5 * soft / min(rx, ry)  # the edge lies within half a voxel of the first-order distance
    columns = np.flatnonzero(np.abs(x[0] - cx) <= reach * rx)
    rows = np.flatnonzero(np.abs(y[:, 0] - cy) <= reach * ry)
    if not len(columns) or not len(rows):
        return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.float32)
    window = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    return window, _ellipse(x[:, window[1]], y[window[0]], cx, cy, rx, ry, soft)


def _ellipse(x: Floats, y: Floats, cx: float, cy: float, rx: float, ry: float, soft: float) -> Floats:
    """1 inside, 0 outside, with an edge of one voxel (first-order distance to the ellipse)."""
    u, v = (x - cx) / rx, (y - cy) / ry
    radius = np.sqrt(u * u + v * v) + np.float32(1e-6)
    gradient = np.sqrt((u / rx) ** 2 + (v / ry) ** 2) / radius + np.float32(1e-6)
    return _edge((radius - 1) / gradient, soft)


def _edge(distance: Floats, soft: float) -> Floats:
    return np.asarray(np.clip(0.5 - distance / soft, 0, 1), dtype=np.float32)


def _lungs(x: Floats, y: Floats, z: float, soft: float) -> Floats:
    """Two lungs that narrow towards the apex and hollow out over the diaphragm."""
    across = 43.0 * float(np.sqrt(max(0.05, 1 - (max(z, -30.0) + 30.0) ** 2 / 190.0**2)))
    both = [_ellipse(x, y, side * 78, 4, across, 76 * across / 43, soft) for side in (-1, 1)]
    dome = -92.0 + 26.0 * np.exp(-((np.abs(x) - 78) ** 2 + y * y) / 2400.0)
    above = _edge(np.asarray(dome - z, dtype=np.float32), 4 * soft)
    return np.asarray(np.maximum(*both) * above, dtype=np.float32)


def _heart(x: Floats, y: Floats, z: float, soft: float) -> Iterator[tuple[Window, Floats, float]]:
    across = max(0.02, 1 - ((z + 42) / 62) ** 2)
    size = float(np.sqrt(across))
    if size > 0.2:
        yield *_oval(x, y, 20, -28, 56 * size, 44 * size, soft), BLOOD


def _airways(x: Floats, y: Floats, z: float, soft: float) -> Iterator[tuple[Window, Floats, float]]:
    """Trachea above the carina (z = 20), two main bronchi below it."""
    if z > 20:
        yield *_oval(x, y, 0, 8, 10.5, 10.5, soft), MUSCLE
        yield *_oval(x, y, 0, 8, 8.5, 8.5, soft), AIR
    elif z > -15:
        for side in (-1, 1):
            middle = side * (6 + (20 - z) * 0.9)
            yield *_oval(x, y, middle, 8, 8, 7, soft), MUSCLE
            yield *_oval(x, y, middle, 8, 6, 5, soft), AIR


def _spine(x: Floats, y: Floats, z: float, soft: float) -> Iterator[tuple[Window, Floats, float]]:
    """Vertebral bodies of 20 mm with discs of 5 mm between them, the canal, a spinous process."""
    disc = (z % 25.0) > 20.0
    yield *_oval(x, y, 0, 68, 19, 16, soft), MUSCLE + 35 if disc else BONE
    if not disc:
        yield *_oval(x, y, 0, 68, 16.5, 13.5, soft), MARROW
    yield *_oval(x, y, 0, 91, 13, 9, soft), BONE
    yield *_oval(x, y, 0, 90, 9, 7, soft), 20.0


def _ribs(x: Floats, y: Floats, z: float, soft: float) -> Iterator[tuple[Window, Floats, float]]:
    """Ribs slope down to the front: an axial plane cuts each into a short piece of the chest wall."""
    for number in range(-5, 6):
        angle = (z - number * 24.0) / 62.0
        if abs(angle) < 1.25:
            for side in (-1, 1):
                cx, cy = side * 131 * float(np.cos(angle)), -88 * float(np.sin(angle))
                yield *_oval(x, y, cx, cy, 5.5, 9, soft), BONE
                yield *_oval(x, y, cx, cy, 3.5, 6.5, soft), MARROW


def _paint_tube(image: Floats, lungs: Floats, tube: Tube, x: Floats, y: Floats, z: float, soft: float) -> None:
    """Paint the vessel into the window of the plane that it can meet, inside the lungs alone."""
    start, axis = np.array(tube.start), np.array(tube.end) - np.array(tube.start)
    reach = tube.radius + soft
    ends = [(z - reach - start[2]) / axis[2], (z + reach - start[2]) / axis[2]] if abs(axis[2]) > 1e-3 else [0.0, 1.0]
    ts = np.clip(sorted(ends), 0, 1)
    if ts[0] == ts[1]:
        return
    xs, ys = np.sort(start[0] + ts * axis[0]), np.sort(start[1] + ts * axis[1])
    columns = np.flatnonzero((x[0] >= xs[0] - reach) & (x[0] <= xs[1] + reach))
    rows = np.flatnonzero((y[:, 0] >= ys[0] - reach) & (y[:, 0] <= ys[1] + reach))
    if not len(columns) or not len(rows):
        return
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    inside = _tube(tube, start, axis, x[:, window[1]], y[window[0]], z, soft)
    image[window] += inside * lungs[window] * (VESSEL - image[window])


def _tube(tube: Tube, start: Point, axis: Point, x: Floats, y: Floats, z: float, soft: float) -> Floats:
    """Coverage of a vessel: distance to its axis against its radius there."""
    t = np.clip(
        ((x - start[0]) * axis[0] + (y - start[1]) * axis[1] + (z - start[2]) * axis[2]) / float(axis @ axis), 0, 1
    )
    away = (x - start[0] - t * axis[0]) ** 2 + (y - start[1] - t * axis[1]) ** 2 + (z - start[2] - t * axis[2]) ** 2
    return _edge(np.asarray(np.sqrt(away) - tube.radius * (1 - t * 2 / 3), dtype=np.float32), soft)


def _ball(sphere: Sphere, x: Floats, y: Floats, z: float, soft: float) -> Floats:
    away = np.sqrt((x - sphere.x) ** 2 + (y - sphere.y) ** 2 + (z - sphere.z) ** 2)
    return _edge(np.asarray(away - sphere.diameter / 2, dtype=np.float32), soft)
