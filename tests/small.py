"""A language model with a vocabulary of some hundred tokens: to train, save and read again in a moment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_tokenizer(folder: Path, texts: Sequence[str]) -> int:
    """A byte-level BPE trained on `texts`, with a chat template; its size."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    ends = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=ends, initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator(list(texts) * 3, trainer)
    inner.add_tokens([AddedToken("<think>", special=False)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=ends[1], eos_token=ends[2], pad_token=ends[2], unk_token=ends[0]
    )
    tokenizer.chat_template, tokenizer.model_max_length = TEMPLATE, 512
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def write_small(folder: Path, texts: Sequence[str]) -> str:
    """A random Llama whose embeddings are tied, in a vocabulary a little larger than its tokenizer's; its name."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    size = write_tokenizer(folder, texts) + 5
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    more = {"num_key_value_heads": 2, "vocab_size": size, "max_position_embeddings": 512, "tie_word_embeddings": True}
    LlamaForCausalLM(LlamaConfig(**shape, **ends, **more)).save_pretrained(folder)
    return str(folder)
