"""Views of a study: study report, charts, leaderboard, dashboard."""
