"""A small picture of known size out of a PNG file: decoded only after its header was found right."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from resnet_bench.data.dataset import Images
from resnet_bench.errors import UsageError
from resnet_bench.text import one_line

MOST_BYTES = 1 << 16  # of a file with so few pixels


def decode_png(content: bytes, side: int, where: str) -> Images:
    """RGB pixels as uint8 [3, side, side].

    Raises:
        UsageError: it is no PNG file of that size; says where.
    """
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if image.size != (side, side):
                raise ValueError(f"{image.width}x{image.height} pixels where {side}x{side} are needed")
            if image.mode != "RGB":
                raise ValueError(f"its pixels are {image.mode} where RGB is needed")
            return np.asarray(image).transpose(2, 0, 1)
    except Exception as error:  # a broken image can raise anything
        raise UsageError(f"{where}: not a readable PNG image ({one_line(str(error))[:200]}); replace it") from None
