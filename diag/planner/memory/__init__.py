"""Will a start-up fit: what takes memory of a GPU, and what is the rest worth as KV cache?"""
