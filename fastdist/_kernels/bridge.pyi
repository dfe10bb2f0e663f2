from typing import final

import numpy as np
from numpy.typing import NDArray

type _Real = NDArray[np.float32] | NDArray[np.float64]
