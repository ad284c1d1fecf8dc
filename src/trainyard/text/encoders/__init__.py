"""Text encoders of transformers with a classification head, and their tokenizers.

Importing these modules loads neither transformers nor tokenizers; building something does. They know no runs, data
sets or training.
"""
