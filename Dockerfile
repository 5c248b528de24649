# syntax=docker/dockerfile:1
# One image for the app, the worker, and the migrations in every environment. APP_NAME is the only setting
# in it; everything else comes from the environment where it runs.

# To use another base, or the same one by digest: --build-arg PYTHON=python:3.11-slim-bookworm@sha256:…
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
RUN python -m venv /opt/venv
COPY requirements.txt aisaas/platform_support.py ./
# As in the Makefile: install exactly what the lock lists, resolve nothing, build nothing.
RUN /opt/venv/bin/python -I platform_support.py && rm platform_support.py \
    && /opt/venv/bin/pip install --no-deps --only-binary :all: --require-hashes --requirement requirements.txt \
    && /opt/venv/bin/pip check

# Building the pages takes Node; running the app doesn't.
FROM packages AS pages
ARG APP_NAME="AI SaaS"
COPY . .
RUN /opt/venv/bin/pip install --no-deps --only-binary :all: --require-hashes --requirement requirements-build.txt
# Fails if the files for browsers contain anything that looks like a key.
RUN APP_NAME="$APP_NAME" /opt/venv/bin/python -m aisaas build \
    && mkdir /built && mv .web/build /built/build \
    && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash aisaas childprocess alembic rxconfig.py

FROM packages AS lean
RUN /opt/venv/bin/pip uninstall --yes pip setuptools

FROM ${PYTHON}
RUN groupadd --system --gid 10001 app \
    && useradd --system --uid 10001 --gid app --no-create-home --home-dir /nonexistent app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    APP_ENV=production \
    AISAAS_DATA_DIR=/tmp/aisaas
WORKDIR /app
COPY --from=lean /opt/venv /opt/venv
COPY --from=pages /app .
COPY --from=pages /built .web
# The only folder that the app writes to, besides /tmp.
RUN install --directory --owner=app --group=app .web/backend
USER app
EXPOSE 3000
STOPSIGNAL SIGTERM
# Health, not readiness: a database outage is no reason to replace this container.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:3000/health', timeout=4)"]
ENTRYPOINT ["python", "-m", "aisaas"]
CMD ["serve", "--host", "0.0.0.0"]
