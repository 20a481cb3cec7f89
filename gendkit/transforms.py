"""Training augmentation and graded corruptions: one definition each, numpy and Pillow only.

Images are (H, W, 3) uint8 RGB, in and out. All chance comes from the generator passed in, so equal
generator states give equal images.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

INTERPOLATIONS = MappingProxyType(
    {
        "nearest": Image.Resampling.NEAREST,
        "lanczos": Image.Resampling.LANCZOS,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "box": Image.Resampling.BOX,
        "hamming": Image.Resampling.HAMMING,
    }
)  # in the order of Pillow's numbers 0 to 5, by which the official code names them

# Source: the robustness grid of github.com/yermandy/GenD at e03532d. Its committed blur runs skip
# the blur (probability 0); here blur means blur.
CORRUPTIONS: Mapping[str, tuple[dict[str, Any], ...]] = MappingProxyType(
    {
        "jpeg": tuple({"quality": q} for q in (100, 80, 60, 40, 20, 10)),
        "blur": tuple(
            {"kernel": k, "sigma": s}
            for k, s in ((0, 0.0), (5, 0.5), (7, 1.0), (11, 1.5), (13, 2.0), (19, 3.0))
        ),
        "resize": tuple(
            {"size": size, "interpolation": name}
            for name in INTERPOLATIONS
            for size in (224, 112, 64)
        ),
        "noise": tuple({"sigma": s} for s in (0.0, 0.01, 0.03, 0.05, 0.1, 0.2)),
    }
)


def _checked(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f"got image {image.shape} {image.dtype}, expected (H, W, 3) uint8 RGB; "
            "multiply floats by 255 and round, drop alpha, repeat grey three times"
        )
    return image


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Compress as JPEG and decode again (4:2:0 chroma, as usual).

    Args:
        image: (H, W, 3) uint8 RGB.
        quality: 1 (worst) to 100 (near identity on smooth images).

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: For a quality out of range or another kind of image.
    """
    if isinstance(quality, bool) or not 1 <= quality <= 100 or int(quality) != quality:
        raise ValueError(f"got quality={quality!r}, expected a whole number from 1 to 100")
    buffer = io.BytesIO()
    Image.fromarray(_checked(image)).save(buffer, "JPEG", quality=int(quality), subsampling="4:2:0")
    return np.array(Image.open(buffer))


def blur(image: np.ndarray, kernel: int, sigma: float) -> np.ndarray:
    """Blur with a square Gaussian window, edges mirrored without repeating the edge pixel.

    Args:
        image: (H, W, 3) uint8 RGB.
        kernel: Width of the window in pixels, odd; 0 with sigma 0 leaves the image as it is.
        sigma: Standard deviation in pixels.

    Returns:
        (H, W, 3) uint8 RGB, rounded.

    Raises:
        ValueError: For an even or negative kernel, sigma <= 0, or an image smaller than the window
            can mirror.

    Source: own; the window and edges of torchvision's GaussianBlur.
    """
    image = _checked(image)
    if kernel == 0 and sigma == 0:
        return image.copy()
    if kernel < 1 or kernel % 2 == 0 or not sigma > 0:
        raise ValueError(
            f"got kernel={kernel}, sigma={sigma}, expected an odd kernel >= 1 and "
            "sigma > 0, or 0 and 0 for no blur"
        )
    half = kernel // 2
    if half >= min(image.shape[:2]):
        raise ValueError(
            f"got image {image.shape} and kernel={kernel}, expected both sides larger "
            f"than {half} pixels; use a smaller kernel"
        )
    window = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    window = (window / window.sum()).astype(np.float32)
    padded = np.pad(image.astype(np.float32), ((half, half), (half, half), (0, 0)), mode="reflect")
    height, width = image.shape[:2]
    rows = sum(w * padded[k : k + height] for k, w in enumerate(window))
    result = sum(w * rows[:, k : k + width] for k, w in enumerate(window))
    return np.clip(np.round(result), 0, 255).astype(np.uint8)


def resize(
    image: np.ndarray, size: int | tuple[int, int], interpolation: str = "bilinear"
) -> np.ndarray:
    """Change the number of pixels with one of Pillow's six filters.

    Args:
        image: (H, W, 3) uint8 RGB.
        size: Side of a square, or (height, width), in pixels.
        interpolation: "nearest", "lanczos", "bilinear", "bicubic", "box" or "hamming". When
            shrinking, all but "nearest" average over the pixels that are lost.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: For an unknown filter or a size below 1.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"got interpolation={interpolation!r}, expected one of {', '.join(INTERPOLATIONS)}"
        )
    height, width = (size, size) if np.isscalar(size) else size
    if min(height, width) < 1:
        raise ValueError(f"got size={size}, expected at least 1 pixel a side")
    picture = Image.fromarray(_checked(image))
    return np.array(picture.resize((int(width), int(height)), INTERPOLATIONS[interpolation]))


def noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Add independent Gaussian noise to every value.

    Args:
        image: (H, W, 3) uint8 RGB.
        sigma: Standard deviation on the scale [0, 1]: 0.1 is 25.5 grey levels. 0 changes nothing.
        rng: Source of chance.

    Returns:
        (H, W, 3) uint8 RGB, clipped and rounded.

    Raises:
        ValueError: For sigma < 0.
    """
    image = _checked(image)
    if not sigma >= 0:
        raise ValueError(f"got sigma={sigma}, expected a number >= 0 on the scale [0, 1]")
    noisy = image + 255 * sigma * rng.standard_normal(image.shape)
    return np.clip(np.round(noisy), 0, 255).astype(np.uint8)


def corrupt(image: np.ndarray, name: str, level: int, rng: np.random.Generator) -> np.ndarray:
    """Apply one cell of the robustness grid.

    Args:
        image: (H, W, 3) uint8 RGB.
        name: A key of `CORRUPTIONS`.
        level: Position in `CORRUPTIONS[name]`, from 0.
        rng: Source of chance (used by "noise" only).

    Returns:
        (H', W', 3) uint8 RGB; "resize" changes the size.

    Raises:
        ValueError: For an unknown name or level.
    """
    if name not in CORRUPTIONS or not 0 <= level < len(CORRUPTIONS[name]):
        known = {key: len(cells) for key, cells in CORRUPTIONS.items()}
        raise ValueError(
            f"got corruption {name!r}, level {level}, expected one of (name: number "
            f"of levels) {known}"
        )
    options = dict(CORRUPTIONS[name][level])
    if name == "noise":
        options["rng"] = rng
    return {"jpeg": jpeg, "blur": blur, "resize": resize, "noise": noise}[name](image, **options)


@dataclass(frozen=True)
class Draw:
    """What chance decided for one image; `Augment.apply` carries it out.

    Args:
        flip: Whether left and right are exchanged.
        angle: Turn in degrees, counter-clockwise.
        shift: (right, down) as shares of width and height.
        scale: Enlargement about the centre.
        blur_sigma: Standard deviation of the blur in pixels, 0 for none.
        brightness: Factor, 1 for no change.
        contrast: Factor, 1 for no change.
        contrast_first: Order of the last two.
        quality: JPEG quality, 0 for no JPEG.
    """

    flip: bool
    angle: float
    shift: tuple[float, float]
    scale: float
    blur_sigma: float
    brightness: float
    contrast: float
    contrast_first: bool
    quality: int


class Augment:
    """The training augmentation of GenD: flip, affine, blur, colour, JPEG, in this order.

    Every call takes the same number of random values, the geometric ones first, whatever the image
    and the outcome. So a real and its fake that are given generators of one seed are turned, moved,
    blurred and compressed alike.

    Args:
        flip: Chance of a horizontal flip.
        degrees: Largest turn to either side.
        translate: Largest shift as a share of each side.
        scale: Range of the enlargement.
        blur: Chance of a blur.
        blur_kernel: Width of its window in pixels, odd.
        blur_sigma: Range of its standard deviation in pixels.
        brightness: Largest change of the brightness factor from 1.
        contrast: Largest change of the contrast factor from 1.
        jpeg_quality: Range of the quality, both ends included; None for no JPEG.
        interpolation: "nearest" (the official code's) or "bilinear", of the affine map.

    Raises:
        ValueError: For a value out of range.

    Source: github.com/yermandy/GenD at e03532d (defaults and order). What comes into view from
    outside is black, as there.
    """

    def __init__(
        self,
        flip: float = 0.5,
        degrees: float = 10.0,
        translate: float = 0.1,
        scale: Sequence[float] = (0.9, 1.1),
        blur: float = 0.1,
        blur_kernel: int = 7,
        blur_sigma: Sequence[float] = (0.1, 2.0),
        brightness: float = 0.1,
        contrast: float = 0.1,
        jpeg_quality: Sequence[int] | None = (40, 100),
        interpolation: str = "nearest",
    ) -> None:
        shares = {
            "flip": flip,
            "translate": translate,
            "blur": blur,
            "brightness": brightness,
            "contrast": contrast,
        }
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise ValueError(f"got {name}={value}, expected a number in [0, 1]")
        ranges = {"scale": scale, "blur_sigma": blur_sigma}
        if jpeg_quality is not None:
            ranges["jpeg_quality"] = jpeg_quality
        for name, pair in ranges.items():
            if len(pair) != 2 or not 0 < pair[0] <= pair[1]:
                raise ValueError(f"got {name}={pair}, expected (low, high) with 0 < low <= high")
        if jpeg_quality is not None and jpeg_quality[1] > 100:
            raise ValueError(f"got jpeg_quality={jpeg_quality}, expected at most 100")
        if blur_kernel < 1 or blur_kernel % 2 == 0 or not 0 <= degrees <= 180:
            raise ValueError(
                f"got blur_kernel={blur_kernel}, degrees={degrees}, expected an odd "
                "kernel >= 1 and degrees in [0, 180]"
            )
        if interpolation not in ("nearest", "bilinear"):
            raise ValueError(f'got interpolation={interpolation!r}, expected "nearest", "bilinear"')
        self.flip, self.degrees, self.translate, self.scale = flip, degrees, translate, scale
        self.blur, self.blur_kernel, self.blur_sigma = blur, blur_kernel, blur_sigma
        self.brightness, self.contrast, self.jpeg_quality = brightness, contrast, jpeg_quality
        self.interpolation = interpolation

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Augment one image.

        Args:
            image: (H, W, 3) uint8 RGB.
            rng: Source of chance.

        Returns:
            (H, W, 3) uint8 RGB, the same size.

        Raises:
            ValueError: For another kind of image.
        """
        return self.apply(image, self.draw(rng))

    def draw(self, rng: np.random.Generator) -> Draw:
        """Let chance decide once; apply the result to several images to treat them alike.

        Args:
            rng: Source of chance; eleven uniform numbers are taken.

        Returns:
            The draw.
        """
        u = rng.random(11)

        def between(value: float, low: float, high: float) -> float:
            return float(low + (high - low) * value)

        quality = 0
        if self.jpeg_quality is not None:
            low, high = self.jpeg_quality
            quality = int(low + np.floor(u[10] * (high - low + 1)))
        return Draw(
            flip=bool(u[0] < self.flip),
            angle=between(u[1], -self.degrees, self.degrees),
            shift=(
                between(u[2], -self.translate, self.translate),
                between(u[3], -self.translate, self.translate),
            ),
            scale=between(u[4], *self.scale),
            blur_sigma=between(u[6], *self.blur_sigma) if u[5] < self.blur else 0.0,
            brightness=between(u[7], 1 - self.brightness, 1 + self.brightness),
            contrast=between(u[8], 1 - self.contrast, 1 + self.contrast),
            contrast_first=bool(u[9] < 0.5),
            quality=quality,
        )

    def apply(self, image: np.ndarray, draw: Draw) -> np.ndarray:
        """Carry out a draw.

        Args:
            image: (H, W, 3) uint8 RGB.
            draw: From `draw`.

        Returns:
            (H, W, 3) uint8 RGB, the same size.

        Raises:
            ValueError: For another kind of image, or one too small for the blur.
        """
        image = _checked(image)
        if draw.flip:
            image = image[:, ::-1]
        image = self._affine(image, draw)
        if draw.blur_sigma > 0:
            image = blur(image, self.blur_kernel, draw.blur_sigma)
        picture = Image.fromarray(image)
        steps = [(ImageEnhance.Brightness, draw.brightness), (ImageEnhance.Contrast, draw.contrast)]
        for enhance, factor in reversed(steps) if draw.contrast_first else steps:
            if factor != 1:
                picture = enhance(picture).enhance(factor)
        image = np.array(picture)
        return jpeg(image, draw.quality) if draw.quality else image

    def _affine(self, image: np.ndarray, draw: Draw) -> np.ndarray:
        """Turn and enlarge about the centre, then shift by whole pixels."""
        height, width = image.shape[:2]
        shift = np.round([draw.shift[0] * width, draw.shift[1] * height])
        angle = np.deg2rad(draw.angle)
        # output to input: undo the shift, turn back, shrink (y points down)
        cos, sin = np.cos(angle) / draw.scale, np.sin(angle) / draw.scale
        turn = np.array([[cos, -sin], [sin, cos]])
        centre = np.array([width, height]) / 2  # Pillow measures from the corner of the first pixel
        offset = centre - turn @ (centre + shift)
        coefficients = (*turn[0], offset[0], *turn[1], offset[1])
        picture = Image.fromarray(np.ascontiguousarray(image))
        return np.array(
            picture.transform(
                (width, height),
                Image.Transform.AFFINE,
                coefficients,
                INTERPOLATIONS[self.interpolation],
            )
        )
