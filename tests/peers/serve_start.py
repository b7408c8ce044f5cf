#!/usr/bin/env python3
"""Milliseconds from starting `codetune serve` to its first answered page; the first start compiles the plugins.

usage: serve_start.py PROGRAM DATA_DIR [PORT]
"""
import os
import subprocess
import sys
import time
import urllib.request

program, data = sys.argv[1:3]
port = sys.argv[3] if len(sys.argv) > 3 else "7999"
for _ in range(5):
    environment = dict(os.environ, CODETUNE_DATA_DIR=data, HOST="127.0.0.1", PORT=port)
    begun = time.perf_counter()
    server = subprocess.Popen([program, "serve"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read()
            break
        except OSError:
            time.sleep(0.002)
    print(round((time.perf_counter() - begun) * 1000), "ms")
    server.terminate()
    server.wait()
