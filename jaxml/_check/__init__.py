"""What may come in: shapes and values, checked in the symbols of the formulas.

Every public function is declared with one of three decorators; what each argument is
stands in its annotation (annotations.py), and the decorators do the same for all:

1. Always, also while tracing: kind, rank and agreement of shapes, static options, keys
   (kinds.py and trees.py; shapes.py is the only file that imports chex).
2. Values (NaN, negative weights, labels out of range) where an array is concrete, once
   per call from outside (ranges.py).
3. Under jit and vmap the same faults become the `status` of the Fit (declare.py).

Integers, lists and NumPy arrays become floats of JAX's default width; float16 and
bfloat16 are computed in float32 and handed back.
"""

from jaxml._check.annotations import AnyArray as AnyArray
from jaxml._check.annotations import Array as Array
from jaxml._check.annotations import Binary as Binary
from jaxml._check.annotations import Count as Count
from jaxml._check.annotations import Counts as Counts
from jaxml._check.annotations import Key as Key
from jaxml._check.annotations import Labels as Labels
from jaxml._check.annotations import NonNegative as NonNegative
from jaxml._check.annotations import Positive as Positive
from jaxml._check.annotations import Rows as Rows
from jaxml._check.annotations import Scalar as Scalar
from jaxml._check.annotations import Static as Static
from jaxml._check.annotations import Targets as Targets
from jaxml._check.annotations import Unchecked as Unchecked
from jaxml._check.annotations import Weights as Weights
from jaxml._check.declare import checkify as checkify
from jaxml._check.declare import fit as fit
from jaxml._check.declare import host as host
from jaxml._check.declare import limits as limits
from jaxml._check.declare import precise as precise
from jaxml._check.declare import pure as pure
from jaxml._check.fields import document as document
from jaxml._check.kinds import array as array
from jaxml._check.kinds import by_value as by_value
from jaxml._check.kinds import count as count
from jaxml._check.kinds import is_zero as is_zero
from jaxml._check.kinds import key as key
from jaxml._check.kinds import option as option
from jaxml._check.ranges import concrete as concrete
from jaxml._check.ranges import finite as finite
from jaxml._check.ranges import labels as labels
from jaxml._check.ranges import values as values
from jaxml._check.shapes import shapes as shapes
from jaxml._check.trees import like as like
from jaxml._check.trees import params as params
from jaxml._check.trees import scalar as scalar
