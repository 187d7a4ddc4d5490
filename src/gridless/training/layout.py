"""Names of the files of a run's folder."""

MODEL_FILE = "model.safetensors"
RECIPE_FILE = "recipe.yaml"
CURVES_FOLDER = "curves"
DIVERGED_FILE = "diverged.json"
