"""How the open part is fine-tuned: one class a file (paper B.6, Table 9).

In: a victim, a secured set, a recipe.
Out: the model to train and the names of what is trained; after training, the customized model.
Public: method.Method, lora.Lora, full.Full, qlora.Qlora, simpo.Simpo.
"""

from solid_utils.customization.methods.full import Full
from solid_utils.customization.methods.lora import Lora
from solid_utils.customization.methods.qlora import Qlora
from solid_utils.customization.methods.simpo import Simpo

# A new method is its file and its line here.
METHODS = (Full, Lora, Qlora, Simpo)
