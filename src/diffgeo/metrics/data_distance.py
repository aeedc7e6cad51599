r"""How far a picture lies from the data, where the data are known.

FactorFaces portraits are render(z), so a picture's distance from them is that of the nearest one, found by a fit
(:func:`diffgeo.data.tangent.fit_factors`):

    off(x) = min_z ‖x − render(z)‖ / √d,

the root mean square over the d pixel values, in [0, 2]; 0 for a portrait. Of a portrait with normal noise of standard
deviation s it is about s √((d − rank) / d), as the noise within the tangent space is fitted. A fit may end in a local
minimum, so ``off`` is an upper bound; several starts make it a tight one.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from diffgeo.data.tangent import Fit, fit_factors
from diffgeo.metrics.attributes import AttributePredictor

__all__ = ["DistanceFromData"]


class DistanceFromData:
    """off(x) of pictures; a :class:`diffgeo.metrics.pictures.PictureMetric`.

    Args:
        predictor: of all FactorFaces factors, whose guess the fit starts from.
        varying: factors that vary in the data; all of them if None.
        starts: of the fit, per picture.
    """

    name = "off_data"

    def __init__(self, predictor: AttributePredictor, varying: Sequence[str] | None = None, *, starts: int = 1) -> None:
        self.predictor, self.varying, self.starts = predictor, varying, starts

    def fit(self, pictures: Tensor, *, starts: int | None = None) -> Fit:
        """The nearest portraits.

        Args:
            pictures: shape (B, 3, size, size), in [−1, 1].
            starts: per picture; the measure's own if None.

        Raises:
            ShapeError: pictures are not square RGB.
        """
        starts = self.starts if starts is None else starts
        return fit_factors(pictures, self.predictor(pictures), varying=self.varying, starts=starts)

    def __call__(self, edited: Tensor, original: Tensor | None = None) -> Tensor:  # noqa: ARG002 (as all metrics)
        """off(x) of every edited picture, whatever it was made from.

        Args:
            edited: pictures, shape (B, 3, size, size), in [−1, 1].
            original: not used.

        Returns:
            Shape (B,), in [0, 2], on the pictures' device.

        Raises:
            ShapeError: pictures are not square RGB.
        """
        return self.fit(edited).residual
