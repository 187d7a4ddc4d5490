"""Names of the files of a run's folder, beside that of the model."""

RECIPE_FILE = "recipe.yaml"
CURVES_FOLDER = "curves"
TENSORBOARD_FOLDER = "tensorboard"
DIVERGED_FILE = "diverged.json"
