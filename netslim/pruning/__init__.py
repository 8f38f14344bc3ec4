"""The method, in the order in which it runs: groups, ranking, removal steps, plan, slim network."""
