"""Numbers of filter and fusion that both the settings and the code need; imports nothing."""

from __future__ import annotations

#: The scales of MATLAB's FrangiFilter2D (1 to 10, steps of 2), px, which the paper does not state.
SIGMAS = (1.0, 3.0, 5.0, 7.0, 9.0)
#: Tolerance of round structures.
BETA = 0.5
#: Strength that counts as structure, in grey levels of 0-255; FrangiFilter2D's.
C = 15.0
#: How much darker the frame is where vesselness is 1.
KAPPA = 0.3
#: Share of the frame in ``average``.
ALPHA = 0.5
#: Shares of train, val and test (section 3.2 of the paper), %.
SHARES = (70.0, 15.0, 15.0)
