"""How does an engine divide KV memory into blocks, pools and states, and how many tokens does it then print?"""
