"""Pretraining of V-JEPA encoders: recipes, masks, predictor, objective and loop."""
