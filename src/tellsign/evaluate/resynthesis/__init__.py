"""The tables of detection by re-synthesis (He, Yu, Keuper, Fritz, IJCAI 2021)."""
