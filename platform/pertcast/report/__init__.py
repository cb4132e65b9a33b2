"""Figures and self-contained HTML reports: one look for screens, trust reports and the page.

Knows results (tables, arrays, trust tables), never models.
"""
