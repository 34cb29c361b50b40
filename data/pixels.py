"""Convert decoded images of any mode to square RGB arrays."""

import numpy as np
import numpy.typing as npt
from PIL import Image

BACKGROUND = (255, 255, 255, 255)  # shown through transparent pixels
_STRIP = 4_000_000  # pixels converted at a time in large images


def to_square(images: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Images (n, height, width) or (n, height, width, 3) as (n, side, side, 3)."""
    if images.ndim == 4 and images.shape[1:3] == (side, side):
        return images
    return np.stack([resize(Image.fromarray(image).convert("RGB"), side) for image in images])


def white_of(image: Image.Image) -> float:
    """The value of white in a one-channel image that is not 8-bit; else 0."""
    if image.mode.startswith("I;16"):
        return 65535
    if image.mode == "I":
        return 65535 if image.getextrema()[1] <= 65535 else 2**31 - 1  # type: ignore[operator]
    if image.mode == "F":  # no standard: 0 to 1, the range of 8 or 16 bits, or more
        values = np.asarray(image)
        top = float(np.max(values, initial=0, where=np.isfinite(values)))
        return next((most for most in (1, 255, 65535) if top <= most), top)
    return 0


def smaller(image: Image.Image, side: int, white: float) -> Image.Image:
    """A large image in RGB, reduced by integer factors to at least four times the side."""
    across, down = max(1, image.width // (4 * side)), max(1, image.height // (4 * side))
    rows = max(1, _STRIP // image.width // down) * down
    small = Image.new("RGB", (-(-image.width // across), -(-image.height // down)))
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        small.paste(to_rgb(strip, white).reduce((across, down)), (0, top // down))
    return small


def to_rgb(image: Image.Image, white: float) -> Image.Image:
    """An image in RGB, transparent pixels over white; ``white`` comes from `white_of`."""
    if white:  # convert("RGB") would clip most values above 8 bits to white
        values = np.nan_to_num(np.asarray(image, np.float64), posinf=white)
        grey = np.clip(values / (white / 255), 0, 255)
        return Image.fromarray(grey.round().astype(np.uint8)).convert("RGB")
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def resize(image: Image.Image, side: int) -> npt.NDArray[np.uint8]:
    """An RGB image as (side, side, 3)."""
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image, np.uint8)
