"""**Did two models move along the same directions?** Subspaces of the moves, against what random ones would share."""

from digit_networks import last, modules, start

import bequest

result = bequest.spectrum(last, modules=modules, initial=start, top=3)
chart = result.chart()
