"""From a mask to the picture a scanning electron microscope would take: the paper's only data source (section 2.1).

Three process stages and a renderer, each a pure function ``(array, parameters, rng) -> array``:

    electron-beam exposure, development -> reactive-ion etch of the template -> imprint and release -> SEM picture

The paper gives parameters, no equations; the forms below are those of the specification. Lengths in nm, time of
the etch in minutes, of the imprint in seconds. Gradients are nm/nm, curvature 1/nm. Everything outside the field
mirrors what is inside. All arrays are ``(H, W)``; height is above the substrate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import scipy.fft
import scipy.ndimage as ndi
import scipy.special
from numpy.typing import NDArray

from fieldsight.errors import DataError
from fieldsight.systems.sem.config import Etch, Exposure, Imprint, Microscope, Recipe

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: Full width at half maximum of a Gaussian in units of its standard deviation.
FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))


@dataclass(frozen=True)
class Simulated:
    """What the simulator gives for one layout.

    Attributes:
        mask: ``(H, W)`` bool, True where the beam writes: a raised, bright feature of the imprint.
        height: ``(H, W)`` float32, nm above the substrate.
        clean: ``(H, W)`` float32, the picture before noise, not clipped (about 0.08 to 1.08).
        sem: ``(H, W)`` uint8, the picture.
        recipe: the parameters used.
    """

    mask: Mask
    height: Float
    clean: Float
    sem: NDArray[np.uint8]
    recipe: Recipe = field(repr=False)


def simulate(mask: NDArray[Any], pixel: float, recipe: Recipe, rng: np.random.Generator) -> Simulated:
    """Run mask ``(H, W)`` (non-zero is written) through the whole process.

    Args:
        mask: the layout, at least 16 x 16 pixels.
        pixel: size of a pixel in nm.
        recipe: parameters; use ``recipe.sample(rng)`` for the spread between layouts.
        rng: source of the release roughness and the microscope's noise.

    Raises:
        DataError: the mask is not two-dimensional or is smaller than 16 pixels a side.
    """
    if mask.ndim != 2 or min(mask.shape) < 16:
        raise DataError(f"A mask must be (H, W) with at least 16 x 16 pixels, got shape {mask.shape}.")
    written = np.asarray(mask) > 0
    opened = develop(expose(written, pixel, recipe.exposure), recipe.exposure)
    width = cavity_width(opened > 0.5, pixel, recipe.etch.depth)
    depth = etch(opened, width, pixel, recipe.etch)
    filled = imprint(depth, width, pixel, recipe.imprint, recipe.etch.depth)
    height = release(filled, pixel, recipe.imprint, rng)
    clean = render(height, pixel, recipe.microscope, recipe.etch.depth + recipe.imprint.residual)
    return Simulated(written, height, clean, photograph(clean, pixel, recipe.microscope, rng), recipe)


# ------------------------------------------------------------------------------- electron-beam exposure


def beam_sigma(fwhm: float) -> float:
    """Standard deviation in nm of a Gaussian beam of full width at half maximum ``fwhm`` in nm."""
    return float(fwhm / FWHM)


def gaussian(image: NDArray[Any], *terms: tuple[float, float]) -> Float:
    """Sum of ``weight * Gaussian blur`` over ``(weight, sigma in pixels)``, mirrored borders.

    One cosine transform there and back whatever the width: a 30-pixel backscatter blur costs as much as none.
    """
    spectrum = scipy.fft.dctn(np.asarray(image, dtype=np.float32), norm="ortho")
    rows, cols = (np.arange(n, dtype=np.float32) * np.float32(np.pi / n) for n in spectrum.shape)
    response = np.zeros_like(spectrum)
    for weight, sigma in terms:
        falloff = [np.exp(-0.5 * (sigma * axis) ** 2) for axis in (rows, cols)]
        response += np.float32(weight) * np.outer(*falloff)
    blurred = scipy.fft.idctn(spectrum * response, norm="ortho", overwrite_x=True)
    return np.asarray(blurred, dtype=np.float32)


def expose(mask: Mask, pixel: float, settings: Exposure) -> Float:
    """Relative dose ``(1-eta) G_sigma * cM + eta G_beta * cM`` with the corrected dose map c; 1 in a large area.

    The correction repeats ``c <- c * 0.5 / (local mean of the dose on edges)``, clipped to 0.7-1.4, so that edges
    in dense and in isolated places meet the same dose.
    """
    eta, beta = settings.backscatter, settings.beta / pixel
    terms = ((1.0 - eta, beam_sigma(settings.fwhm) / pixel), (eta, beta))
    written = mask.astype(np.float32)
    edges = (ndi.maximum_filter(written, 3) != ndi.minimum_filter(written, 3)).astype(np.float32)
    correction = np.ones_like(written)
    near = gaussian(edges, (1.0, beta))
    for _ in range(settings.pec_steps if edges.any() else 0):
        on_edges = gaussian(gaussian(correction * written, *terms) * edges, (1.0, beta))
        mean = np.divide(on_edges, near, out=np.full_like(near, 0.5), where=near > 1e-3)
        correction = np.clip(correction * 0.5 / np.maximum(mean, 1e-3), 0.7, 1.4)
    return gaussian(correction * written, *terms)


def develop(dose: Float, settings: Exposure) -> Float:
    """Share of the resist that is gone, ``1 / (1 + exp(-(D - D0) / s))``, 0 to 1."""
    return np.asarray(scipy.special.expit((dose - settings.threshold) / settings.softness), dtype=np.float32)


# ----------------------------------------------------------------------------------- reactive-ion etch


def lateral_bias(depth: float, anisotropy: float) -> float:
    """How far in nm the rim of an etched wall moves under the resist while ``depth`` nm are etched: (1-A) depth.

    The foot of the wall does not move, so the wall leans, and its half-height contour moves by half of this.
    """
    return (1.0 - anisotropy) * depth


def cavity_width(opened: Mask, pixel: float, reach: float) -> Float:
    """Local width in nm of open regions: the widest disc that fits inside them and covers the pixel.

    Discs grow by a seventh at a time from one pixel to ``reach`` nm radius. Up to 32 nm outside a region, where its
    walls will move, its width goes on; further out the width is ``reach``.
    """
    inside = cv2.distanceTransform(opened.astype(np.uint8), cv2.DIST_L2, 5)
    largest = max(2.0, min(reach / pixel, float(inside.max())))
    width = np.zeros(opened.shape, dtype=np.float32)
    for radius in np.geomspace(1.0, largest, int(np.log(largest) / np.log(1.15)) + 2):
        covered = cv2.distanceTransform((inside < radius).astype(np.uint8), cv2.DIST_L2, 5) < radius
        width[covered] = 2.0 * radius * pixel
    border = 2 * max(1, round(32.0 / pixel)) + 1
    around = cv2.dilate(width, np.ones((border, border), np.uint8))
    width = np.where(opened, width, around)
    known = (width > 0).astype(np.float32)
    smooth = cv2.GaussianBlur(width * known, (0, 0), 3.0) / np.maximum(cv2.GaussianBlur(known, (0, 0), 3.0), 1e-6)
    return np.where(known > 0, smooth, np.float32(reach)).astype(np.float32)


def etch(opened: Float, width: Float, pixel: float, settings: Etch) -> Float:
    """Etched depth in nm of the template under resist opened by ``opened`` (0 to 1).

    Level set of a height field: ``phi = z + d``, ``phi_t + V(n)|grad phi| = 0`` with
    ``V = V_v ((1-A) + A cos+)``. On open ground that is ``d_t = V_v ((1-A) sqrt(1 + |grad d|^2) + A)``; under
    resist only walls are attacked, ``d_t = V_v (1-A) |grad d|``. Upwind differences, steps of half a pixel's travel.
    The rate falls by ``lag * depth / width`` in narrow openings.
    """
    minutes = settings.depth / settings.rate
    sideways = settings.rate * (1.0 - settings.anisotropy)
    steps = max(4, int(np.ceil(minutes * sideways / (0.5 * pixel))))
    step = np.float32(minutes / steps)
    ions = np.float32(settings.rate * settings.anisotropy) * opened
    lag = np.float32(settings.lag) / width
    depth = np.zeros_like(opened)
    for _ in range(steps):
        squared = _upwind_slope_squared(depth, pixel)
        walls = np.sqrt(squared + opened * opened)
        rate = (ions + np.float32(sideways) * walls) * np.maximum(1.0 - lag * depth, 0.0)
        depth += step * rate
    return depth


def _upwind_slope_squared(depth: Float, pixel: float) -> Float:
    """Squared slope towards deeper neighbours: the front moves from deep to shallow, so only those count."""
    rise = np.zeros_like(depth)
    along = np.empty_like(depth)
    for axis in (0, 1):
        rows = depth if axis == 0 else depth.T
        steepest = along if axis == 0 else along.T
        steepest[0] = steepest[-1] = 0.0
        steepest[1:] = rows[:-1] - rows[1:]
        np.maximum(steepest[:-1], rows[1:] - rows[:-1], out=steepest[:-1])
        np.maximum(along, 0.0, out=along)
        rise += along * along
    return rise / np.float32(pixel * pixel)


# ----------------------------------------------------------------------------------- imprint and release


def creep(time: float, stress: float, viscosity: float, relaxation: float, retardation: float) -> float:
    """Strain of an Oldroyd-B liquid ``time`` seconds after a step of stress (Pa); viscosity in Pa s.

    ``gamma(t) = sigma/eta0 (t + (l1 - l2)(1 - exp(-t/l2)))``; for l2 -> 0 the Maxwell liquid, ``sigma/eta0 (t + l1)``.
    """
    jump = 1.0 if retardation == 0 else 1.0 - float(np.exp(-time / retardation))
    return stress / viscosity * (time + (relaxation - retardation) * jump)


def imprint(depth: Float, width: Float, pixel: float, settings: Imprint, full_depth: float) -> Float:
    """Height in nm of the cured resist that filled cavities of ``depth`` nm.

    ``f = 1 - exp(-gamma / gamma_c)`` with ``gamma_c`` larger in narrow, deep cavities; below lies a residual layer
    that dense cavities within 100 nm drain.
    """
    strain = creep(settings.time, settings.stress, settings.viscosity, settings.relaxation, settings.retardation)
    resistance = settings.resistance * (1.0 + settings.narrowness * depth / width)
    filled = 1.0 - np.exp(-strain / resistance)
    density = gaussian(depth / np.float32(full_depth), (1.0, 100.0 / pixel))
    residual = np.maximum(settings.residual + settings.drain * density, 0.0)
    return np.asarray(residual + filled * depth, dtype=np.float32)


def release(height: Float, pixel: float, settings: Imprint, rng: np.random.Generator) -> Float:
    """Round the rims and roughen the edges as the template comes off.

    Rounding moves height along its curvature (rims lose, feet gain), at most ``rounding`` nm. Roughness shifts the
    map by a random field of standard deviation ``ler``, correlation length ``ler_length``, Hurst ``ler_hurst``.
    """
    bend = ndi.laplace(gaussian(height, (1.0, 1.0)), mode="mirror")
    largest = float(np.abs(bend).max())
    rounded = height + np.float32(settings.rounding) * bend / np.float32(largest) if largest > 1e-6 else height
    if settings.ler == 0:
        return np.asarray(rounded, dtype=np.float32)
    shift = [
        settings.ler / pixel * rough_field(height.shape, settings.ler_length / pixel, settings.ler_hurst, rng)
        for _ in range(2)
    ]
    rows, cols = np.indices(height.shape, dtype=np.float32)
    moved = cv2.remap(
        np.asarray(rounded, dtype=np.float32),
        cols + shift[1],
        rows + shift[0],
        interpolation=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT,
    )
    return np.asarray(np.maximum(moved, 0.0), dtype=np.float32)


def rough_field(shape: tuple[int, ...], length: float, hurst: float, rng: np.random.Generator) -> Float:
    """A random ``(H, W)`` field of mean 0 and variance 1 with the K-correlation spectrum ``(1+(k xi)^2)^-(1+H)``.

    Args:
        shape: ``(H, W)``.
        length: correlation length xi in pixels.
        hurst: Hurst exponent H, 0 to 1; larger is smoother.
        rng: source of chance.
    """
    white = rng.standard_normal(shape).astype(np.float32)
    kr = 2.0 * np.pi * np.fft.fftfreq(shape[0])[:, None]
    kc = 2.0 * np.pi * np.fft.rfftfreq(shape[1])[None, :]
    power = (1.0 + (kr**2 + kc**2) * length**2) ** (-(1.0 + hurst))
    both = np.full(kc.shape, 2.0)  # rfft keeps one of each pair of conjugate columns
    both[0, 0] = 1.0
    if shape[1] % 2 == 0:
        both[0, -1] = 1.0
    scale = np.sqrt(power / (power * both).sum() * shape[0] * shape[1])
    field_ = scipy.fft.irfft2(scipy.fft.rfft2(white) * scale, s=shape)
    return np.asarray(field_, dtype=np.float32)


# -------------------------------------------------------------------------------------------- microscope


def render(height: Float, pixel: float, settings: Microscope, full_height: float) -> Float:
    """The picture before noise: ``I0 + a h/h_max + b (sqrt(1+|grad h|^2) - 1) + c (-lap h)``, then the beam's blur.

    ``h_max`` is the nominal ``full_height`` in nm, not the highest point of the field: a blank field stays dark.
    """
    rows, cols = np.gradient(height, np.float32(pixel))
    slope = np.sqrt(1.0 + rows * rows + cols * cols) - 1.0
    bend = ndi.laplace(height, mode="mirror") / np.float32(pixel * pixel)
    bright = (
        settings.offset
        + settings.height * height / np.float32(full_height)
        + settings.slope * slope
        - settings.curvature * bend
    )
    return gaussian(bright, (1.0, settings.blur)) if settings.blur else np.asarray(bright, dtype=np.float32)


def photograph(clean: Float, pixel: float, settings: Microscope, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Add drift, charging, shot noise and Gaussian noise, clip to 0-1 and quantise to 8 bits."""
    picture: NDArray[Any] = clean
    if settings.drift:
        rows, cols = np.indices(clean.shape, dtype=np.float32)
        shift = np.float32(settings.drift / pixel) * rows / np.float32(max(clean.shape[0] - 1, 1))
        picture = cv2.remap(clean, cols + shift, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    if settings.charging:
        lines = ndi.gaussian_filter1d(rng.standard_normal(clean.shape[0]), 1.0)
        bright_line = picture.mean(axis=1) - picture.mean()
        picture = picture - np.float32(settings.charging) * (lines + bright_line)[:, None].astype(np.float32)
    if settings.electrons:
        picture = rng.poisson(np.maximum(picture, 0.0) * settings.electrons) / settings.electrons
    noisy = picture + settings.noise * rng.standard_normal(clean.shape)
    return np.round(np.clip(noisy, 0.0, 1.0) * 255.0).astype(np.uint8)
