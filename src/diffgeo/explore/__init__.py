"""Exploring a model by hand: a picture, its directions, what they do. The page is :mod:`.app`, on :mod:`.serving`."""

from diffgeo.explore.session import Card, Choice, EditedPicture, Explorer, Picture, Place
from diffgeo.explore.uploads import picture_of

__all__ = ["Card", "Choice", "EditedPicture", "Explorer", "Picture", "Place", "picture_of"]
