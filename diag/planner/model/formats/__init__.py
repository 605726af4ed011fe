"""How are the weights of a checkpoint stored, and which engine runs that on which device?"""
