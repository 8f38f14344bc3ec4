"""The results of a run, pass by pass, and the rule that ends the passes."""
