"""The HTML kit of all pages: one template, style sheet, table, image strip and chart maker."""
