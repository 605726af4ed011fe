"""What is the model: which weights and caches has it, how are they stored, where is that read?"""
