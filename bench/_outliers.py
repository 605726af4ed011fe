"""Why is a replayed row far from its log, or called something else than it became? One reason a row."""

from __future__ import annotations

from collections.abc import Mapping

OUTLIERS: Mapping[str, str] = {
    "v008": "0.95 of 24 GB leaves no room for high estimates; 64000 tokens in chunked kernels take more",
    "l010": "a build between two releases, whose cache held keys and values of all heads of latent attention",
    "l011": "neither version nor checkpoint nor GPUs are logged; the tokens are those of a build between releases",
    "v006": "a branch under review: what it calls non-torch memory is in no release",
    "v017": "a video of 153600 tokens is profiled by this version: its embeddings stay beside the towers' activations",
    "v026": "9.4 GiB of activations are those of 2048 sequences: the flag is not in the row",
    "v027": "a vision tower that the shape has not",
    "v039": "the version is not logged; up to 0.27 sampling takes 1.5 GiB more",
    "v051": "an audio encoder that the shape has not",
    "v052": "an audio encoder that the shape has not",
    "v053": "an audio encoder that the shape has not",
    "v054": "1.3 GiB of KV cache on a 16 GB card, 1.0 needed; sampling took 30 bytes a word, not 38",
    "v055": "layers from the host's memory were copied one after the other: between one and two at a time",
    "v058": "the other stage of the pipeline had less: blocks are the least of all ranks, the row has one",
    "v060": "V0 captures graphs for each of 4 stages; what took the last 3.8 GiB is not logged",
    "v091": "memory shared with the host; a draft (DSpark) is loaded with it, of which no config is at hand",
    "v115": "a bisected development version, between two rules; estimates of the newest were taken",
    "v121": "a request needs three states of its recurrent layers there, not two: not understood",
    "v140": "activations of 200,000 tokens in an engine of 2024",
    "v153": "only the language model of a larger one is run, with a vocabulary of its own",
    "v155": "0.07 GiB of a model of 0.5B: the tool's 4-bit files leave some layers in 16 bit, which is not logged",
    "v156": "as v155; and the tool sets fewer sequences than the engine would",
    "v185": "its KV memory was given by a flag, with a draft (DSpark) of which no config is at hand",
    "v197": "max_model_len, which printed tokens follow, is not logged; figures as a reporter rounds them",
    "v205": "a branch under review: what it calls non-torch memory is in no release",
    "v212": "memory shared with the host: graphs took 5.1 GiB, 1.5 are probable",
    "v213": "memory shared with the host: graphs took 5.1 GiB, 1.5 are probable",
    "v217": "the KV cache was 8 bits wide: the flag is not in the row",
    "v224": "an engine of mid 2024 took 2 GiB more than its terms on two T4: not understood",
    "v227": "0.13 held more than the 16-bit weights while it quantized them; 0.12 started",
    "v246": "activations 17 % less than counted",
    "v254": "a draft is loaded, as its log says before it is cut off: 3 tokens give the logged figure",
    "v251": "the KV cache's dtype is that of a sibling recipe, as the row says",
    "s049": "166.6 GiB of weights a GPU were logged, 96 follow from data-parallel attention over 8 ranks",
}
