# faces on a CPU: docker build -t faces . && docker run --rm -v "$PWD:/work" faces detect photo.jpg
#
# All that is installed comes as wheels. `--build-arg EXTRAS=train,serve` brings training and the
# server as well; without, it is the runtime: detect, enroll, recognize, run.
FROM python:3.11-slim

ARG EXTRAS=""
# torch's plain wheels for Linux carry CUDA; these do not
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
COPY . /opt/faces
RUN pip install --extra-index-url "$TORCH_INDEX" -c /opt/faces/constraints.txt \
        "/opt/faces${EXTRAS:+[$EXTRAS]}" \
    && useradd --create-home faces
USER faces
WORKDIR /work
ENTRYPOINT ["faces"]
CMD ["--help"]
