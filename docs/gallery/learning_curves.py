"""**Does pre-training help?** Three replicas of each arm; the band is the interval over them.

The verdict is careful: nobody chose the learning rates of these arms, and it says so.
"""

from digit_networks import runs

import bequest

result = bequest.learning_curves(runs, chance=0.1)
print(result.verdict[0].status)
print(result.verdict[0].sentence)
chart = result.chart()
