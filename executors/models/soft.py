"""Prompt and prefix tuning with the virtual tokens as what they are: a beginning that all texts have in common.

PEFT puts prompt tuning's virtual tokens before each row's and then drops the rows' positions and masks, so that a row
in a padded batch is answered differently than alone. Here the keys and values of the virtual tokens are a cache that
every row continues from: computed once a pass, right with any mask and any padding, and equal to PEFT's own answer for
a row alone. Files, configuration and `generate` stay PEFT's. Imported on use only, for it needs torch and peft.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from peft import PeftModelForCausalLM, PeftModelForFeatureExtraction
from torch import Tensor

from executors.models.packing import branch


class SoftPrompted(PeftModelForCausalLM):  # type: ignore[misc]
    """A causal model after virtual tokens. Callers never count them: ids, masks, positions and logits are the texts'.

    A cache that is passed in is one that came out of here: it begins with the virtual tokens.
    """

    takes_any_mask = True  # see `language.can_share`

    @property
    def virtual_tokens(self) -> int:
        """How many positions of the window the virtual tokens take."""
        return int(self.active_peft_config.num_virtual_tokens)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """As the base model's, `use_cache` included, except that the computation always has a cache to continue."""
        if self._adapters_disabled:
            given = {"attention_mask": attention_mask, "position_ids": position_ids, "use_cache": use_cache}
            return self.base_model(input_ids=input_ids, past_key_values=past_key_values, **given, **kwargs)
        virtual = self.virtual_tokens
        if past_key_values is None or not past_key_values.get_seq_length():
            past_key_values = self._beginning(len(input_ids))
        if position_ids is None:
            seen = past_key_values.get_seq_length()
            position_ids = torch.arange(seen, seen + input_ids.shape[1], device=input_ids.device)[None]
        else:
            position_ids = position_ids + virtual
        out = self.base_model(
            input_ids=input_ids,
            attention_mask=None if attention_mask is None else _seeing(attention_mask, virtual),
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=True,
            **kwargs,
        )
        if not use_cache:
            out.past_key_values = None
        return out

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """PEFT's own, which is right for one row at a time; it need not say that it counts positions by itself."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Position ids are not supported", UserWarning)
            return super().generate(*args, **kwargs)

    def _beginning(self, rows: int) -> Any:
        """The virtual tokens' cache for a batch of `rows`, through which gradients reach them."""
        if self.active_peft_config.peft_type == "PREFIX_TUNING":
            return self.get_prompt(rows)
        prompt = self.get_prompt(1).to(self.word_embeddings.weight.dtype)
        cache = self.base_model(inputs_embeds=prompt, use_cache=True, logits_to_keep=1).past_key_values
        return branch(cache, rows)


class SoftPromptedEncoder(PeftModelForFeatureExtraction):  # type: ignore[misc]
    """An encoder without a head after virtual tokens, whose own vectors are left out of what comes back.

    So means over a text's tokens, and its first token, are those of the text. Rows must be padded on the right.
    """

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> Any:
        """As the base model's, for ids alone: kinds of tokens are not told apart."""
        if self._adapters_disabled:
            return self.base_model(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        kwargs.pop("token_type_ids", None)
        virtual = int(self.active_peft_config.num_virtual_tokens)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        embedded = self.word_embeddings(input_ids)
        prompt = self.get_prompt(len(input_ids)).to(embedded.dtype)
        out = self.base_model(
            inputs_embeds=torch.cat([prompt, embedded], dim=1), attention_mask=_seeing(mask, virtual), **kwargs
        )
        out.last_hidden_state = out.last_hidden_state[:, virtual:]
        if getattr(out, "hidden_states", None) is not None:
            out.hidden_states = tuple(layer[:, virtual:] for layer in out.hidden_states)
        return out


def _seeing(mask: Tensor, virtual: int) -> Tensor:
    """`mask` ``[rows, tokens]`` or ``[rows, heads, queries, keys]`` with `virtual` more, which everyone sees."""
    more = mask.new_ones(*mask.shape[:-1], virtual)
    return torch.cat([more, mask], dim=-1)
