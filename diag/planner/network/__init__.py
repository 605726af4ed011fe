"""What does the planner make of the network between nodes: its variables, its rate, the groups of nodes?"""
