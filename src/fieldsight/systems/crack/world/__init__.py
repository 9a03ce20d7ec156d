"""The drawn world: surfaces, light, cracks and what looks like them, with the exact truth.

Five domains, each a surface with its own light, camera, cracks and distractors, so that appearance tells the domain;
a sixth, ``plaster``, is never trained on.
"""

from __future__ import annotations

from fieldsight.systems.crack.world.backgrounds import heldout
from fieldsight.systems.crack.world.laying import STYLES, annotate
from fieldsight.systems.crack.world.scene import DOMAINS, UNSEEN, Scene, draw_heldout, draw_photo, draw_set

__all__ = ["DOMAINS", "STYLES", "UNSEEN", "Scene", "annotate", "draw_heldout", "draw_photo", "draw_set", "heldout"]
