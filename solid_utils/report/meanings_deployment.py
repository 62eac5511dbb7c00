"""What columns of a deployment's costs and defences mean, in its files and tables; a part of meanings.MEANING."""

DEPLOYMENT: dict[str, tuple[str, str]] = {  # column: (unit, meaning)
    "rounding": (
        "name",
        "of states before they leave the secure world: `none`, `bfloat16`, `int8` or `int4` (a scale a token)",
    ),
    "noise": ("ratio", "standard deviation of Gaussian noise on these states, in root mean squares of each state"),
    "texts": ("count", "texts that the attacker asked about"),
    "askings": ("count", "how often he asked each, barely changed, so that noise is drawn anew; he keeps the mean"),
    "deployment_agreement": ("fraction", "agreement of the customer's model with the plain victim, next tokens"),
    "deployment_kl": ("nats", "KL divergence of the plain victim from the customer's model, mean over samples"),
    "replica_agreement": ("fraction", "agreement of the replica, a linear map, with the plain victim, next tokens"),
    "replica_kl": ("nats", "KL divergence of the plain victim from the replica, mean over samples"),
    "defences.n": ("count", "held-out texts behind the scores"),
    "work": ("name", "`decode`: one step of a text; `prefill`: whole texts; `fine-tuning`: one step on whole texts"),
    "pulls": ("yes or no", "does fine-tuning ask for gradients through the secured part?"),
    "rows": ("count", "texts of a batch"),
    "context": ("count", "tokens of a text; of decode those before the step"),
    "secret_bytes": ("bytes", "of secured tensors in the secure world"),
    "cache_bytes": ("bytes", "of keys and values that the secure world keeps for each token of a running text"),
    "flops_inside": ("FLOP", "a token, in the secure world, counted from shapes"),
    "sent": ("bytes", "a token, from customer to secure world, frames whole"),
    "received": ("bytes", "a token, from secure world to customer, frames whole"),
    "flops_of_all": ("fraction", "of the FLOPs inside where everything is secured, the same kind of work"),
    "adapts": (
        "name",
        "what an attacker does who knows of the defence: `no`; `mean` of his askings; `cells`: whatever rounds to what "
        "was shown is as good to him",
    ),
    "defended.attack": ("name", "`linear map`, `sem`, `sem_linear`; `none`: the customer's model through the defence"),
    "defended.askings": ("count", "how often each text was asked, barely changed; 0 where nobody attacks"),
    "defended.weight": ("count", "answer tokens of the text"),
    "defended.kl": ("nats", "KL divergence of the plain victim from this model, mean over the answer tokens, of texts"),
    "defended.agreement": ("fraction", "of answer tokens whose most likely token is the plain victim's"),
    "defended.n": ("count", "held-out texts behind the scores, each with several answer tokens"),
    "felt": ("fraction", "agreement that the customer loses by the defence"),
    "taken": ("fraction", "agreement that this attack had without the defence, less what it has through it; paired"),
}
