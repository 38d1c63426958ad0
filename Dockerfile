# Two images from one file; docs/how-to/docker.md has the commands.
#   serve   draws images from a generator file, over HTTP or into files. No PyTorch.
#   train   the whole chain, from images to a promoted generator.
# Every Python package is held to a committed lock by its hash. Debian's are not pinned: its
# archive drops a version when the next one comes.

FROM python:3.12.12-slim-bookworm AS python
ENV PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never \
    DO_NOT_TRACK=true \
    ORT_DISABLE_TELEMETRY=1
RUN useradd --uid 10001 --create-home monge

# uv, and monge as a wheel whose build tools come from the lock, too.
FROM python AS build
WORKDIR /build
COPY requirements-uv.lock ./
RUN python -m pip install --no-deps --require-hashes -r requirements-uv.lock
COPY pyproject.toml README.md LICENSE requirements.lock ./
COPY src ./src
RUN uv build --wheel --require-hashes --build-constraints requirements.lock --out-dir dist

FROM build AS serve-packages
COPY requirements-serve.lock ./
RUN python -m venv --without-pip /opt/monge \
    && python -m pip --python /opt/monge/bin/python install --compile --no-deps --require-hashes -r requirements-serve.lock \
    && python -m pip --python /opt/monge/bin/python install --compile --no-deps --no-index dist/*.whl

FROM python AS serve
COPY --from=serve-packages /opt/monge /opt/monge
ENV PATH=/opt/monge/bin:$PATH
USER monge
# The model comes in from outside, and the pictures go out, through mounted folders.
WORKDIR /out
ENTRYPOINT ["monge"]
CMD ["--help"]

FROM build AS train-packages
RUN python -m venv /opt/monge \
    && uv pip install --python /opt/monge/bin/python --compile-bytecode --no-deps --require-hashes -r requirements.lock

FROM python AS train
# DVC reads the revision with git; make offers the shortcuts of the Makefile.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*
COPY --from=train-packages /opt/monge /opt/monge
# HOME: whichever user runs this (docker run --user) has a folder for the caches of its libraries.
ENV PATH=/opt/monge/bin:$PATH \
    HOME=/tmp \
    USER=monge
COPY . /project
WORKDIR /project
# Editable, so that a checkout mounted on /project runs its own code, which is what DVC watches.
RUN python -m pip install --no-deps --no-build-isolation --no-index --editable . \
    && python -m compileall -q src pipelines \
    && chown -R monge /project
USER monge
# Without a checkout there is no git to keep the versions in.
RUN dvc config --local core.no_scm true
# One volume and not one a folder: dvc.lock, params.yaml and mlflow.db are files of it that change,
# and a file that is replaced cannot be a mount. It holds data/, checkpoints/, models/, reports/,
# .dvc/cache, .monge, .prefect, mlflow.db and mlartifacts/.
VOLUME ["/project"]
ENTRYPOINT ["python", "-m", "pipelines"]
