"""Names of the files of a run's folder, beside that of the model."""

RECIPE_FILE = "recipe.yaml"
CURVES_FOLDER = "curves"
DIVERGED_FILE = "diverged.json"
