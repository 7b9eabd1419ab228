# The one image of Apidex, for compose and for a cluster, with one process in it:
#
#     docker build --tag apidex .
#
# `--target test` adds the tests (run it with `--read-only --tmpfs /tmp`), `--target loadtest` adds Locust.

FROM python:3.13-slim AS build
WORKDIR /src

# For `strip`.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*

# Two environments without pip: the one that goes along holds only what runs, the other what makes the wheel and the list of parts.
RUN python3 -m venv --without-pip /opt/apidex && python3 -m venv --without-pip /opt/build
COPY requirements.lock deploy/build.lock ./
# 62 MB of what wheels hold are symbols for debuggers. Libraries in *.libs stay as they are: auditwheel has rewritten them, and one
# that is stripped then cannot be loaded.
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip --python /opt/apidex/bin/python install --no-compile --no-deps --require-hashes --only-binary :all: -r requirements.lock && \
    python3 -m pip --python /opt/build/bin/python install --no-deps --require-hashes --only-binary :all: -r build.lock && \
    find /opt/apidex -type f -name '*.so*' ! -path '*.libs/*' -exec strip --strip-unneeded {} +

COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/build/bin/hatchling build -t wheel -d /wheel && \
    python3 -m pip --python /opt/apidex/bin/python install --no-compile --no-index --no-deps --no-cache-dir /wheel/*.whl && \
    /opt/build/bin/cyclonedx-py environment --output-reproducible --output-file /opt/apidex/sbom.cdx.json /opt/apidex/bin/python


FROM build AS build-test
COPY requirements-dev.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip --python /opt/apidex/bin/python install --no-deps --require-hashes -r requirements-dev.lock


FROM build AS build-loadtest
COPY deploy/loadtest.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip --python /opt/apidex/bin/python install --no-deps --require-hashes --only-binary :all: -r loadtest.lock


# What a replica never loads: numpy's tests and compiler, the Luas that Redis does not run (it runs 5.1), a second implementation of
# zstandard, stubs for type checkers, sources in C.
FROM build AS trimmed
RUN find /opt/apidex -type d -path '*/numpy/*' \( -name tests -o -name f2py \) -prune -exec rm -r {} + && \
    find /opt/apidex -type f \( -path '*/numpy/*/_simd*.so' -o -path '*/zstandard/*cffi*' -o -path '*/lupa/lua*.so' ! -name 'lua51*' \
        -o -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.[ach]' -o -name '*.hpp' \) -delete


FROM python:3.13-slim AS runtime
ENV PATH=/opt/apidex/bin:$PATH
COPY --from=trimmed /opt/apidex /opt/apidex

# A read-only root cannot keep bytecode: it is compiled here, once, rather than at every start. Of the standard library, of which the
# base image has none, and of two large packages only what is imported; the rest of numpy and pygments never is.
RUN python3 -m compileall -q -x '/(numpy|pygments)/' /opt/apidex && \
    python3 -c "import apidex.cli.serve, apidex.http.routes, apidex.search.suffix_array, fakeredis, http.client"
ENV PYTHONDONTWRITEBYTECODE=1

# A container's loopback address is reached by nobody else.
ENV APIDEX_HOST=0.0.0.0

# The root is read-only: a directory for the last good copy must be mounted, and named here.
ENV APIDEX_STATE_DIR=none
EXPOSE 8000

# A number, so that Kubernetes can see that it is not root.
USER 10001:10001

# The interval is long because each check starts a Python; the start interval makes `docker compose up` quick all the same.
HEALTHCHECK --interval=10s --timeout=3s --retries=2 --start-period=30s --start-interval=1s \
    CMD ["python3", "-I", "-c", "import http.client, os, sys; \
replica = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('APIDEX_ADMIN_PORT') or os.environ.get('APIDEX_PORT') or 8000), timeout=2); \
replica.request('GET', '/-/readyz'); \
sys.exit(replica.getresponse().status != 200)"]

# Without a shell between, SIGTERM reaches the server.
CMD ["apidex", "serve"]


FROM runtime AS test
COPY --from=build-test /opt/apidex /opt/apidex
WORKDIR /checkout
COPY . .
# Coverage by this Python's own monitoring costs little, so the tests need no second run for it.
ENV HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis COVERAGE_CORE=sysmon COVERAGE_FILE=/tmp/coverage
HEALTHCHECK NONE
CMD ["sh", "-c", "coverage run -m pytest -p no:cacheprovider --numprocesses logical --ignore=tests/deploy --ignore=tests/instrument && \
coverage combine --quiet && coverage report"]


FROM runtime AS loadtest
COPY --from=build-loadtest /opt/apidex /opt/apidex
WORKDIR /opt/loadtest
COPY loadtest loadtest
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --start-interval=1s \
    CMD ["python3", "-I", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8089/', timeout=2)"]
EXPOSE 8089
CMD ["locust", "-f", "loadtest/locustfile.py"]


# The last stage is the one that `docker build` makes.
FROM runtime AS apidex
ARG VERSION=0.2.0
ARG REVISION=unknown
ARG CREATED=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="Apidex" \
      org.opencontainers.image.description="Which public APIs have this in their name? Answered fast, and always." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.base.name="python:3.13-slim"
