"""The words for a trained product in prompts."""

from models.briefs import Method

RARE_WORD = "sks"


def placeholder(product_id: str, method: Method) -> str:
    """Return the word that stands for a product in prompts.

    Textual Inversion adds a new token. DreamBooth takes a rare word of the tokenizer's vocabulary
    (Ruiz et al. 2022, section 3.2). All products can share that word, because each has its own weights.
    """
    return f"<{product_id.lower()}>" if method == "textual_inversion" else RARE_WORD


def subject(placeholder_token: str, class_noun: str, method: Method) -> str:
    """Return a product's name in prompts: `<milk>`, or `sks jar of jam` (the rare word before the class noun)."""
    return placeholder_token if method == "textual_inversion" else f"{placeholder_token} {class_noun}"
