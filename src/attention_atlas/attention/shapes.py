"""Names for the shapes of queries, keys, values, outputs and maps, for signatures."""

from jaxtyping import Float
from torch import Tensor

Queries = Float[Tensor, "batch heads queries width"]
Keys = Float[Tensor, "batch kv_heads keys width"]
Values = Float[Tensor, "batch kv_heads keys value_width"]
Outputs = Float[Tensor, "batch heads queries value_width"]
Map = Float[Tensor, "batch heads queries keys"]
