"""The Studio page and the tour's demonstration."""
