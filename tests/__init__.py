"""The tests. Without this file, `import tests` finds the folder that torch-fidelity installs."""
